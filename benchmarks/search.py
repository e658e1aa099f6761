"""The search for the saturation point against servers whose truth is known, on virtual time: docs/results/search.md.

    .venv/bin/python benchmarks/search.py > docs/results/search.md      # about 20 minutes of one core
    .venv/bin/python benchmarks/search.py --searches 20 --only mm1      # a look
    .venv/bin/python benchmarks/search.py --engines                     # real engines on small budgets alone

Everything is seeded: the same command prints the same tables. The servers are those of tests/search/queues.py and, with
the timing of real ones, tests/search/engines.py. It must
never feed the search anything but what a client could have seen.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "search")]

import engines as h200  # noqa: E402
from queues import NS, Engine, Server, drive, md1, measure, mm1, s2l_lengths, slots, stepped  # noqa: E402

from loadgen.analysis.attainment import attainments  # noqa: E402
from loadgen.analysis.slo import Slo, parse_slo  # noqa: E402
from loadgen.search.estimates import Pairs, Rate, capacity  # noqa: E402
from loadgen.search.probe import Kind, Probe, Purpose  # noqa: E402
from loadgen.search.search import Limits  # noqa: E402

PRECISION = 0.03
GRID = np.linspace(0.2, 2.0, 10)  # of the capacity: a user who guessed it well
SWEEPS = 10
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Case(NamedTuple):
    """A server, what is asked of it, and the budget of a search in s."""

    title: str
    make: Callable[[], Server]
    slo: str
    budget_s: float
    latency_s: float  # without a queue
    knee: float | None = None  # share of the capacity, where a formula says it


def _uniform(low: int, high: int) -> Draw:
    return lambda rng, n: rng.integers(low, high + 1, n).astype(float)


def _s2l() -> Server:
    answers = s2l_lengths()[:, -1]
    return slots(32, 0.05, 0.02, lambda rng, n: answers[rng.integers(0, len(answers), n)], float(answers.mean()))


def _kv() -> Server:
    engine = stepped("KV", (50, 250), (20, 140), seqs=256, kv_tokens=4096, host_ms=20)
    return engine.with_capacity_of_a_long_run(600, 20_000)


def _prefill() -> Server:
    engine = stepped("prefill", (500, 1500), (4, 12), seqs=256, kv_tokens=400_000, host_ms=5, prefill_us=50)
    return engine.with_capacity_of_a_long_run(600, 20_000)


CASES = {
    "md1": Case("M/D/1", md1, "e2el_p99=120ms", 1200, 0.02, 2 - 2**0.5),
    "mm1": Case("M/M/1", mm1, "e2el_p99=300ms", 1200, 0.02, 0.5),
    "md1-bursty": Case("the same, gamma 0.25", lambda: md1(burstiness=0.25), "ttft<300ms@95%", 1800, 0.02),
    "mm1-bursty": Case("M/M/1, gamma 0.25", lambda: mm1(burstiness=0.25), "e2el_p95=500ms", 1800, 0.02),
    "batch": Case(
        "16 slots, 20–180 tokens",
        lambda: slots(16, 0.05, 0.02, _uniform(20, 180), 100.0),
        "ttft_p99=500ms,e2el_mean=3s",
        3600,
        2.1,
    ),
    "s2l": Case("32 slots, S2L's answers", _s2l, "ttft_p95=1s", 14400, 9.7),
    "kv": Case("simulator, KV cache full", _kv, "ttft_p99=1s,tpot_p99=30ms", 3600, 1.7),
    "prefill": Case("simulator, prefill", _prefill, "ttft_p90=1s,tpot_p99=200ms", 1800, 0.1),
}


@cache
def server_of(name: str) -> Server:
    return CASES[name].make()


def goodput_of(server: Server, slo: Slo) -> float:
    """The highest rate within the SLO, by bisection with runs of 400,000 requests (the simulator: 100,000)."""
    low, high = 0.0, server.capacity
    requests = 100_000 if isinstance(server, Engine) else 400_000
    while high - low > 5e-4 * server.capacity:
        rate = (low + high) / 2
        whole_ns = requests / rate * NS
        probe = Probe(Kind.OPEN, rate, Purpose.SLO, whole_ns, whole_ns)
        seen = server.run(probe, 999).seen(whole_ns)
        over = any(each.excess > 0 for each in attainments(slo, seen, seen.start_ns > whole_ns / 20))
        low, high = (low, rate) if over else (rate, high)
    return (low + high) / 2


class Told(NamedTuple):
    """How 200 answers stand to one truth."""

    covers: float
    median: float
    worst: float
    half: float

    def cells(self) -> str:
        covers, median, worst, half = (100 * each for each in self)
        return f"{covers:.1f} % | {median:.2f} % | {worst:.1f} % | ± {half:.1f} %"


def told(rates: Iterable[Rate | None], truth: float) -> Told:
    known = [each for each in rates if each is not None]
    low = np.array([each.low or 0.0 for each in known])
    high = np.array([np.inf if each.high is None else each.high for each in known])
    error = np.abs([each.value / truth - 1 for each in known])
    covers = (low <= truth * (1 + 1e-9)) & (truth * (1 - 1e-9) <= high)
    return Told(
        float(covers.mean()), float(np.median(error)), float(error.max()), float(np.median(high - low)) / 2 / truth
    )


def searches(names: list[str], count: int) -> None:
    heads = "in the interval | error, median | worst | interval |"
    tables = {
        "Highest stable rate": [f"| server | requests | s | probes | {heads}", "|---|---|---|---|---|---|---|---|"],
        "Highest rate within the SLO": [f"| server | SLO | truth | {heads}", "|---|---|---|---|---|---|---|"],
        "Peak output throughput": [f"| server | {heads}", "|---|---|---|---|---|"],
        "Knee, where a formula says it": [f"| server | {heads}", "|---|---|---|---|---|"],
    }
    for name in names:
        case, server = CASES[name], server_of(name)
        slo = parse_slo(case.slo)
        within = goodput_of(server, slo)
        ran = [drive(server, Limits(case.budget_s * NS, PRECISION), seed, slo) for seed in range(count)]
        answers = [answer for answer, _ in ran]
        spent = [
            f"{np.median([sum(j.requests for _, j in made) for _, made in ran]):,.0f}",
            f"{np.median([sum(j.duration_ns for _, j in made) for _, made in ran]) / NS:,.0f}",
            f"{np.median([len(made) for _, made in ran]):.0f}",
        ]
        stable, good, peak, bend = tables.values()
        stable.append(
            f"| {case.title} | {' | '.join(spent)} | {told((a.stable for a in answers), server.capacity).cells()} |"
        )
        share = within / server.capacity
        good.append(
            f"| {case.title} | `{case.slo}` | {share:.2f} C | {told((a.goodput for a in answers), within).cells()} |"
        )
        tokens = server.capacity * server.workload.output_tokens
        peak.append(f"| {case.title} | {told((a.tokens for a in answers), tokens).cells()} |")
        if case.knee:
            knee = told((a.knee for a in answers), case.knee * server.capacity)
            bend.append(f"| {case.title} | {knee.cells()} |")
        progress(f"{name}: {count} searches")
    for title, lines in tables.items():
        print(f"\n## {title}\n\n" + "\n".join(lines))


def verdicts(names: list[str], count: int) -> None:
    print("\n## Healthy or not, in one probe\n")
    print("| server | 80 % load: stable | unstable | requests | 110 % load: unstable | stable | requests |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        case, server = CASES[name], server_of(name)
        cells = []
        for load, right, wrong in ((0.8, "stable", "unstable"), (1.1, "unstable", "stable")):
            ran = [measure(server, _probe(server, case, load, 60_000), 5000 + seed) for seed in range(count)]
            said = [each.verdict for each in ran]
            requests = np.median([each.requests for each in ran])
            cells += [f"{said.count(right)} of {count}", f"{said.count(wrong)}", f"{requests:,.0f}"]
        print(f"| {case.title} | {' | '.join(cells)} |", flush=True)
        progress(f"{name}: verdicts")


def _probe(server: Server, case: Case, load: float, requests: float, at_least: float = 0.0) -> Probe:
    settle_ns = 1.5 * case.latency_s * NS
    at_most_ns = requests / server.capacity * NS
    at_least_ns = min(at_most_ns, max(2 * NS, 3 * settle_ns, at_least * at_most_ns))
    return Probe(Kind.OPEN, load * server.capacity, Purpose.INSIDE, at_least_ns, at_most_ns, settle_ns, decide=True)


def costs(names: list[str]) -> None:
    print("\n## What it costs, against a fixed sweep\n")
    print("| server | search, requests | sweep, requests | ratio |\n|---|---|---|---|")
    for name in names:
        case, server = CASES[name], server_of(name)
        ran = [drive(server, Limits(case.budget_s * NS, PRECISION), 9000 + seed)[1] for seed in range(2 * SWEEPS)]
        search = float(np.median([sum(j.requests for _, j in made) for made in ran]))
        length, sweep = 250.0, 0.0
        while not sweep and length < 100_000:
            made = [_sweep(server, case, length, seed) for seed in range(SWEEPS)]
            if sum(map(_says, made)) >= 0.9 * SWEEPS:
                sweep = float(np.median([sum(j.requests for _, j in each) for each in made]))
            length *= 2**0.5
        print(f"| {case.title} | {search:,.0f} | {sweep:,.0f} | {search / sweep:.2f} |", flush=True)
        progress(f"{name}: cost")


def engines(count: int) -> None:
    print("\n## Engines as they were on an H200, with the budgets given there\n")
    print(
        "| engine | budget, s | capacity found | in the interval | error, median | a rate certainly stable | "
        "of the capacity, median | the climb, s |\n|---|---|---|---|---|---|---|---|"
    )
    for title, make, budget_s in ENGINES:
        truth = make().with_capacity_of_a_long_run(600, 1500.0).capacity
        ran = [drive(server_of_a_search(make()), Limits(budget_s * NS), seed) for seed in range(count)]
        stable = [answer.stable for answer, _ in ran if answer.stable is not None]
        found = [each for each in stable if each.low is not None and each.high is not None and each.half > 0]
        held = [answer.sustained / truth for answer, _ in ran if answer.sustained]
        climb = [sum(j.duration_ns for p, j in made if p.purpose is Purpose.LADDER) / NS for _, made in ran]
        figures = told(found, truth) if found else None
        print(
            f"| {title} | {budget_s:.0f} | {len(found)} of {count} | "
            f"{'' if figures is None else f'{100 * figures.covers:.0f} % | {100 * figures.median:.1f} %'} | "
            f"{len(held)} of {count} | {f'{np.median(held):.2f}' if held else ''} | {np.median(climb):.0f} |",
            flush=True,
        )
        progress(f"{title}: {count} searches")


def server_of_a_search(engine: Engine) -> Server:
    """What only the first probe meets is met again in each search."""
    return h200.warming_up(engine) if engine.name == "transformers" else engine  # type: ignore[return-value]


ENGINES: list[tuple[str, Callable[[], Engine], float]] = [
    ("transformers, S2S: 80 ms a step", h200.transformers, 90),
    ("vLLM, S2L", lambda: h200.vllm("s2l"), 180),
    ("vLLM, S2S: wanders by 10 %", lambda: h200.vllm("s2s"), 130),
    ("DeepSpeed-MII, S2S", h200.mii, 80),
    ("llama.cpp, S2S: 64 slots", h200.llamacpp, 100),
]


def _sweep(server: Server, case: Case, length: float, seed: int) -> Pairs:
    """Ten points of equal duration, `length` requests long at the capacity."""
    probes = [_probe(server, case, float(load), length, at_least=1.0) for load in GRID]
    return [(each, measure(server, each, 77_000 + 100 * seed + k)) for k, each in enumerate(probes)]


def _says(made: Pairs) -> bool:
    """What the search says: the capacity to ± 3 %, and a rate of at least 0.75 of it that is certainly stable."""
    found = capacity(made)
    held = max((p.level for p, j in made if j.verdict == "stable"), default=0.0)
    return found is not None and found.half <= PRECISION * found.value and held >= 0.75 * found.value


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--probes", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--engines", action="store_true")
    options = parser.parse_args()
    if options.engines:
        engines(options.searches)
        return
    print(HEAD.format(searches=options.searches))
    verdicts(options.only, options.probes)
    costs(options.only)
    searches(options.only, options.searches)
    engines(options.searches)


HEAD = """# The search for the saturation point, against known truth

`.venv/bin/python benchmarks/search.py > docs/results/search.md`: {searches} seeded searches of each server, on virtual
time.

C is the true capacity: a formula for queues and slots, the simulator's own run of 20,000 s for the last two. The truth
of an SLO is a bisection with runs of 400,000 requests (100,000 in the simulator). A search is asked for ± 3 % and may
stop early; with an SLO, which costs most, it usually spends its budget. "In the interval": how often the 95 % interval
held the truth. A sweep is ten points from 0.2 C to 2 C, of equal duration, judged by the same code, and as long as it
takes until nine of ten sweeps say what the search says: C to ± 3 %, and a rate of at least 0.75 C that is certainly
stable."""

if __name__ == "__main__":
    main()
