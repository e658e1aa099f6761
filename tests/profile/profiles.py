"""A profile with made-up timings, so that what is told about times is tested without torch and to the digit."""

from collections.abc import Callable

from loadgen.profile.grid import Cell, PairCell, Point
from loadgen.profile.kernels import how
from loadgen.profile.limits import Reached
from loadgen.profile.measure import Profile, Wanted
from loadgen.profile.selftest import Check
from loadgen.profile.timing import Effort, Timing
from loadgen.profile.works import LINEARS, STACKS, Phase, Tools, Work, pair_works, rows_and_works, stack_step
from loadgen.roofline.bound import Row
from loadgen.roofline.gpus import find_gpu, own_limits
from loadgen.roofline.transformer import find_transformer

MODEL = find_transformer("llama-2-7b")
TOOLS = Tools(cuda=True, triton=True)
MEASURED = own_limits("800,4000", find_gpu("H200"))  # TFLOP/s, GB/s: a ridge of 200
LAUNCH_NS = 2000.0


def timing(ns: float, *, cached: bool = False) -> Timing:
    return Timing(ns, ns * 0.98, ns * 1.05, 20, 100, "graph", cached)


def floor_and_launch(row: Row, _: str) -> Timing | str:
    """A kernel at 80 % of its floor, and never shorter than the shortest."""
    return timing(max(row.floor_ns / 0.8, LAUNCH_NS))


def point(phase: Phase, batch: int, sequence: int, time: Callable[[Row, str], Timing | str]) -> Point:
    """A point of the grid; pairs take 4 µs, with eager attention 10 more, with a concatenated cache 20 more."""
    cells: dict[tuple[str, str], Cell] = {}
    for stack in STACKS:
        step = stack_step(stack, phase, batch, sequence)
        for row, works in rows_and_works(MODEL, step, MEASURED, TOOLS):
            for work in works:
                cells.setdefault((row.name, how(work)), Cell(row, how(work), time(row, how(work)))).stacks.append(stack)
    pairs = []
    for work in pair_works(MODEL, phase, batch, sequence, TOOLS):
        kv_cache, attention = work.dims[:2]
        ns = 4000 + 10_000 * (attention == "eager") + 20_000 * (kv_cache == "concatenated")
        pairs.append(PairCell(kv_cache, attention, 1e6, timing(ns)))
    return Point(phase, batch, sequence, list(cells.values()), pairs)


def sweep(batches: tuple[int, ...], time: Callable[[Row, str], Timing | str]) -> list[tuple[int, Cell]]:
    return [
        (batch, Cell(row, how(works[0]), time(row, how(works[0]))))
        for batch in batches
        for row, works in rows_and_works(MODEL, stack_step("blocked", "decode", batch, 1), MEASURED, TOOLS)
        if row.name in LINEARS
    ]


def made_profile(time: Callable[[Row, str], Timing | str] = floor_and_launch) -> Profile:
    """Two phases, three batches, two lengths, and a sweep up to 1,024 tokens."""
    profile = Profile(
        MODEL,
        {"name": "NVIDIA H200", "torch": "2.11.0", "triton": "3.6.0"},
        Wanted([], [], "measured", Effort(), 60, command="loadgen profile llama-2-7b --batch 1,8,64 --seq 512,2048"),
        find_gpu("H200"),
        measured=MEASURED,
        launch=timing(LAUNCH_NS),
        seconds=61.5,
    )
    profile.reached.append(Reached("copy", "GB/s", 8e9, timing(2e6)))
    profile.checks.append(Check("rope: triton, in place", Work("rope, triton", (1,)), 0.003, 0.01))
    phases: tuple[Phase, ...] = ("prefill", "decode")
    profile.points += [point(p, b, s, time) for p in phases for s in (512, 2048) for b in (1, 8, 64)]
    profile.sweep += sweep((1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), time)
    return profile
