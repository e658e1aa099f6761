"""One run of the paper's experiment over real sockets, beside the same plan in virtual time: they must agree.

    make paper            (its second step; writes docs/results/paper/sockets.json and its table in paper.md)

`loadgen run` puts the load on `loadgen serve simulator` with the settings of a `Case`; the plan that it saved is then
driven through the same engine without a socket. What parts them is what virtual time leaves out: two processes, a
socket, and the lateness of a busy machine. Every request must have as many tokens as planned, and no figure may differ
by more than its TOLERANCE; else this ends with exit code 1.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from paper import FOLDER, PAGE
from paper_case import Case, build
from paper_tables import fill

from loadgen.plan import Plan, load_plan
from loadgen.records.folder import read_records
from loadgen.simulator.sequence import Sequence
from loadgen.simulator.virtual import drive
from loadgen.units import NS_PER_MS, NS_PER_S

CASE = Case("continuous", "s2s", 60, measure="steady")
REQUESTS, SEED = 900, 1
# Relative, and absolute in ms for what a busy machine adds to a single event.
TOLERANCE = {
    "tokens_per_s": (0.02, 0.0),
    "latency_ms": (0.02, 5.0),
    "latency_p99_ms": (0.05, 10.0),
    "ttft_ms": (0.02, 5.0),
    "ttft_p99_ms": (0.05, 20.0),
}


def figures(plan: Plan, first_ns: np.ndarray, end_ns: np.ndarray, tokens: int) -> dict[str, float]:
    """Of one run, from the times of first and last tokens; all from due times on."""
    latency, ttft = (end_ns - plan.due_ns) / NS_PER_MS, (first_ns - plan.due_ns) / NS_PER_MS
    return {
        "tokens_per_s": float(tokens / (end_ns.max() - plan.due_ns[0]) * NS_PER_S),
        "latency_ms": float(latency.mean()),
        "latency_p99_ms": float(np.quantile(latency, 0.99)),
        "ttft_ms": float(ttft.mean()),
        "ttft_p99_ms": float(np.quantile(ttft, 0.99)),
    }


def over_sockets(case: Case, requests: int, seed: int, folder: Path) -> tuple[Plan, dict[str, float]]:
    """Run the load on a simulator of its own; its plan, and what was measured. Raises on a request that failed."""
    engine = f"simulator --model {case.model} --gpu {case.gpu} --batching {case.policy} --kv {case.kv}"
    engine += f" --max-num-seqs {case.max_num_seqs} --host-overhead-us {case.host_us:g}"
    engine += f" --host-overhead-per-seq-us {case.host_sequence_us:g}"
    load = ["--dataset", case.dataset, "--request-rate", f"{case.rate:g}", "--num-prompts", str(requests)]
    command = [sys.executable, "-m", "loadgen", "run", "--engine", engine, "--endpoint", "completions", *load]
    command += ["--seed", str(seed), "--warmup", "none", "--quiet", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{done.stderr or done.stdout}")
    plan = load_plan(folder / "plan.arrow")
    records = pa.Table.from_batches(list(read_records(folder))).sort_by("index")
    if set(records["outcome"].to_pylist()) != {"ok"}:
        raise SystemExit(f"Not every request was answered: see {folder}.")
    if not np.array_equal(records["output_tokens"].to_numpy(), plan.output_tokens):
        raise SystemExit("An answer had another length than planned.")
    first, last = (records[name].to_numpy() for name in ("first_token_ns", "last_token_ns"))
    return plan, figures(plan, first, last, int(plan.output_tokens.sum()))


def in_virtual_time(case: Case, plan: Plan) -> dict[str, float]:
    engine, _ = build(case)
    columns = (plan.due_ns.tolist(), plan.input_tokens.tolist(), plan.output_tokens.tolist())
    sequences = [Sequence(*row) for row in zip(*columns, strict=True)]
    drive(engine, sequences)
    first, last = (np.array([getattr(one, name) for one in sequences]) for name in ("first_ns", "end_ns"))
    return figures(plan, first, last, int(plan.output_tokens.sum()))


def compare(case: Case, requests: int, seed: int) -> dict[str, Any]:
    """Figure → virtual, over sockets, the tolerance, and whether they agree within it."""
    with tempfile.TemporaryDirectory() as folder:
        plan, measured = over_sockets(case, requests, seed, Path(folder) / "run")
    virtual = in_virtual_time(case, plan)
    found = {}
    for name, (relative, absolute) in TOLERANCE.items():
        apart = abs(measured[name] - virtual[name])
        found[name] = {
            "virtual": float(f"{virtual[name]:.5g}"),
            "sockets": float(f"{measured[name]:.5g}"),
            "tolerance": f"{100 * relative:g} %" + (f" + {absolute:g} ms" if absolute else ""),
            "agrees": apart <= relative * virtual[name] + absolute,
        }
    return found


def main() -> int:
    found = compare(CASE, REQUESTS, SEED)
    document = {"command": "make paper", "requests": REQUESTS, "seed": SEED, "series": found}
    (FOLDER / "sockets.json").write_text(json.dumps(document) + "\n")
    PAGE.write_text(fill(PAGE.read_text(), {"sockets": found}))
    apart = [name for name, one in found.items() if not one["agrees"]]
    for name, one in found.items():
        sys.stdout.write(f"{name}: {one['virtual']:g} in virtual time, {one['sockets']:g} over sockets\n")
    if apart:
        sys.stderr.write(f"Sockets and virtual time disagree on {', '.join(apart)}. Is the machine busy?\n")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
