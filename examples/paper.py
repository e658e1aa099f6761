"""The serving experiment of arXiv 2404.11502 on simulated deployments: curves, intervals, and tests of the suspects.

    make paper            (writes docs/results/paper/*.json and *.svg, and the tables in docs/results/paper.md)

Everything is drawn from seeds and runs in virtual time, so the same command gives the same bytes. The words in
docs/results/paper.md are written by hand; every number in its tables is written by this file.
"""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from paper_case import Case, simulate
from paper_figures import draw
from paper_tables import fill

from loadgen.analysis.student import t_quantile

SEEDS = (1, 2, 3, 4, 5)
PAGE = Path(__file__).parents[1] / "docs" / "results" / "paper.md"
FOLDER = PAGE.with_suffix("")
POLICIES = ("continuous", "splitfuse", "inflight", "static")
RATES = {
    "s2s": (25, 50, 100, 150, 175, 200, 225, 250, 300, 500, 1000),
    "s2l": (1, 2, 4, 6, 8, 9, 10, 12, 16, 24, 48, 96),
    "l2s": (1, 2, 4, 6, 8, 10, 12, 13, 16, 24, 48, 96),
    "s16k": (0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6),
}
STEADY_RATE_MAX = {"s2s": 500, "s2l": 24, "l2s": 24, "s16k": 1}
TITLES = {"s2s": "S2S", "s2l": "S2L", "l2s": "L2S", "s16k": "S-16k, answers of 4,000"}
SERVED = ("s2s", "s2l", "l2s")  # the paper served no S-16k
LENGTHS = tuple(f"{prompt}x{answer}" for prompt in (32, 256, 1024, 2048) for answer in (32, 256, 1024))
LOAD = 0.7  # of what `continuous` can do, where latencies are compared

# As they were deployed: limits from the engines, host overheads from paper_calibration.py (A100-40G).
VLLM = Case("continuous", "s2s", 0, measure="round")
MII = replace(VLLM, policy="splitfuse", kv="blocked", max_num_seqs=512, host_us=2192, host_sequence_us=23.7)
DEPLOYED = {
    "vLLM 0.2.7": VLLM,
    "MII": MII,
    "TensorRT-LLM": replace(VLLM, policy="inflight", host_sequence_us=0),
    "Transformers, 8 at a time": replace(VLLM, policy="static", max_num_seqs=8),
    "MII, 32 at a time": replace(MII, gateway=32),
    "vLLM 0.2.7, 32 at a time": replace(VLLM, gateway=32),
}
OFFLINE_MODELS = {"s16k": "vicuna-7b-v1.5-16k"}  # of the shape of Llama-2-7B, with a context of 16,384

Series = dict[str, list[Case]]


def over(case: Case, dataset: str, rates: tuple[float, ...] | None = None) -> list[Case]:
    known = RATES[dataset] if rates is None else rates
    if case.measure == "steady":  # its queue grows with time, and beyond the peak nothing is learned
        known = tuple(rate for rate in known if rate <= STEADY_RATE_MAX[dataset])
    return [replace(case, dataset=dataset, rate=rate) for rate in known]


def experiments() -> dict[str, Series]:
    """Name → series → the cases of its points."""
    found: dict[str, Series] = {}
    for dataset in RATES:
        found[f"steady-{dataset}"] = {name: over(Case(name, dataset, 0), dataset) for name in POLICIES}
    for dataset in SERVED:
        round_ = {name: over(Case(name, dataset, 0, measure="round"), dataset) for name in POLICIES}
        found[f"round-{dataset}"] = round_
        found[f"deployed-{dataset}"] = {name: over(case, dataset) for name, case in DEPLOYED.items()}
    small = (0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 12)
    for measure in ("steady", "round"):
        found[f"memory-{measure}-s2l"] = {
            f"{engine}, {gpu}": over(replace(DEPLOYED[engine], gpu=gpu, measure=measure), "s2l", small)
            for gpu in ("rtx-3090", "rtx-4090")
            for engine in ("vLLM 0.2.7", "MII")
        }
    found["host-s2s"] = {
        f"{us} µs a sequence": over(Case("continuous", "s2s", 0, host_sequence_us=us), "s2s")
        for us in (0, 25, 100, 400)
    }
    found["kv-s2l"] = {kv: over(Case("chunked", "s2l", 0, kv=kv), "s2l") for kv in ("paged", "blocked", "reserved")}
    found["offline"] = {
        name: [
            replace(case, dataset=dataset, measure="offline", model=OFFLINE_MODELS.get(dataset, case.model))
            for dataset in RATES
        ]
        for name, case in DEPLOYED.items()
        if not case.gateway
    }
    found["padding"] = {
        name: [Case(name, dataset, 0, measure="full") for dataset in ("s2s", "30x26")]
        for name in ("continuous", "splitfuse", "inflight")
    }
    found["lengths-full"] = {name: [Case(name, lengths, 0, measure="full") for lengths in LENGTHS] for name in POLICIES}
    return found


def under_load(full: dict[str, Any]) -> dict[str, Series]:
    """Every policy at the same rate: LOAD of what `continuous` was found to do with such lengths."""
    rates = {
        point["dataset"]: float(f"{LOAD * point['tokens_per_s'][0] / int(point['dataset'].split('x')[1]):.3g}")
        for point in full["continuous"]["points"]
    }
    return {"lengths-load": {name: [Case(name, lengths, rates[lengths]) for lengths in LENGTHS] for name in POLICIES}}


def run(job: tuple[Case, int]) -> dict[str, float]:
    return simulate(*job)


def interval(values: list[float], floor: float = 0.0) -> list[float]:
    """Mean, and the ends of its 95 % interval over the seeds (Student's t), which never go below `floor`."""
    mean = float(np.mean(values))
    half = t_quantile(0.975, len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return [float(f"{value:.5g}") for value in (mean, max(floor, mean - half), mean + half)]


def measure_all(plan: dict[str, Series], seeds: tuple[int, ...], workers: int) -> dict[str, Any]:
    """Name → series → its first case, its points, and how far throughput falls from the best rate to the highest."""
    jobs = [(case, seed) for series in plan.values() for cases in series.values() for case in cases for seed in seeds]
    with ProcessPoolExecutor(workers) as pool:
        answers = iter(list(pool.map(run, jobs, chunksize=8)))
    found: dict[str, Any] = {}
    for name, series in plan.items():
        found[name] = {}
        for label, cases in series.items():
            rows = [[next(answers) for _ in seeds] for _ in cases]
            points = [
                {"rate": case.rate, "dataset": case.dataset}
                | {key: interval([one[key] for one in row]) for key in row[0]}
                for case, row in zip(cases, rows, strict=True)
            ]
            best = max(range(len(cases)), key=lambda k: points[k]["tokens_per_s"][0])
            fall = [
                last["tokens_per_s"] / top["tokens_per_s"] - 1 for last, top in zip(rows[-1], rows[best], strict=True)
            ]
            found[name][label] = {
                "case": asdict(replace(cases[0], rate=0)),
                "points": points,
                "fall": interval(fall, floor=-1.0),
            }
    return found


def draw_all(found: dict[str, Any]) -> None:
    for name, series in found.items():
        if name.startswith(("lengths", "offline", "padding")):
            continue
        dataset = TITLES[name.rpartition("-")[2]]
        lines = {label: one["points"] for label, one in series.items()}
        draw(
            FOLDER / f"{name}-tokens.svg", lines, "tokens_per_s", f"{dataset}: token throughput", "tokens/s", log=False
        )
        if name.startswith(("steady", "deployed")):
            draw(FOLDER / f"{name}-latency.svg", lines, "latency_ms", f"{dataset}: mean latency", "ms", log=True)


def main() -> None:
    began = time.monotonic()
    found = measure_all(experiments(), SEEDS, workers=2)
    found |= measure_all(under_load(found["lengths-full"]), SEEDS, workers=2)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, series in found.items():
        document = {"command": "make paper", "seeds": SEEDS, "series": series}
        (FOLDER / f"{name}.json").write_text(json.dumps(document) + "\n")
    draw_all(found)
    PAGE.write_text(fill(PAGE.read_text(), found))
    simulations = sum(len(one["points"]) for series in found.values() for one in series.values()) * len(SEEDS)
    sys.stdout.write(f"{len(found)} experiments, {simulations:,} simulations, {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
