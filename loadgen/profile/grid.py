"""All modules of a model over a grid of phases, batches and lengths, each work timed once; what cannot be timed is kept
beside the reason.

It must never decide what a time means: that is findings.py's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from loadgen.profile.bench import Bench, first_line, out_of_memory, raise_if_broken
from loadgen.profile.kernels import KERNELS, how
from loadgen.profile.timing import Call, Effort, Timing, copies_needed, copies_that_fit, stays_cached, time_calls
from loadgen.profile.works import (
    IN_PAIR,
    LINEARS,
    STACKS,
    Phase,
    Tools,
    Work,
    pair_works,
    rows_and_works,
    stack_step,
)
from loadgen.roofline.bound import Row, analyse
from loadgen.roofline.gpus import Gpu
from loadgen.roofline.transformer import Transformer

PREFILL_TOKENS_MAX = 65_536  # of a prefill: far beyond the ridge, and beyond what engines take in one step


@dataclass(slots=True)
class Cell:
    """One way to do one operation at one point, and the stacks that do it so; without a timing, why."""

    row: Row
    how: str
    timing: Timing | str
    stacks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PairCell:
    """The cache's update and the attention after it, timed as one; `bytes` as the floors of the two count them."""

    kv_cache: str
    attention: str
    bytes: float
    timing: Timing | str


@dataclass(frozen=True, slots=True)
class Point:
    """Everything timed at one phase, batch and length."""

    phase: Phase
    batch: int
    sequence: int
    cells: list[Cell]
    pairs: list[PairCell]


@dataclass(slots=True)
class Stopwatch:
    """Times works on one bench and remembers them. `failed`: kinds of work that the self-test found wrong."""

    bench: Bench
    effort: Effort
    failed: dict[str, str] = field(default_factory=dict)
    known: dict[Work, Timing | str] = field(default_factory=dict)

    @property
    def tools(self) -> Tools:
        return Tools(self.bench.cuda, self.bench.triton)

    def time(self, work: Work, call_bytes: float) -> Timing | str:
        """The timing, or in words why there is none. `call_bytes` is the floor's count of what a call moves."""
        if kind(work) in self.failed:
            return self.failed[kind(work)]
        if work not in self.known:
            self.known[work] = self._time(work, call_bytes)
            self.bench.forget()
        return self.known[work]

    def _time(self, work: Work, call_bytes: float) -> Timing | str:
        cache = self.bench.cache_bytes
        try:
            copies = self._copies(work, copies_needed(cache, call_bytes))
            return time_calls(self.bench, copies, self.effort, cached=stays_cached(cache, call_bytes, len(copies)))
        except Exception as error:  # noqa: BLE001 (torch's and Triton's have no common root; the next module goes on)
            raise_if_broken(self.bench, error, f"{work.kernel} {work.dims}")
            return "out of memory" if out_of_memory(error) else first_line(error)

    def _copies(self, work: Work, wanted: int) -> list[Call]:
        """As many as are wanted, or as there is memory for."""
        build, before = KERNELS[work.kernel].build, self.bench.taken_bytes()
        first = build(self.bench, *work.dims).run
        fit = copies_that_fit(wanted, self.bench.taken_bytes() - before, self.bench.free_bytes())
        return [first, *(build(self.bench, *work.dims).run for _ in range(fit - 1))]


def kind(work: Work) -> str:
    """What the self-test's verdict on one shape says about others: the kernel, and the way it goes, without sizes."""
    return " ".join([work.kernel, *(part for part in work.dims if isinstance(part, str))])


def coarse_first(
    phases: Sequence[Phase], batches: Sequence[int], sequences: Sequence[int]
) -> list[tuple[Phase, int, int]]:
    """The grid, every fourth line of it first, so that a budget that runs out costs resolution and not range."""

    def level(values: Sequence[int], value: int) -> int:
        at = len(values) - 1 - values.index(value)
        return 2 if at % 2 else (at % 4) // 2

    points = [
        (level(batches, batch) + level(sequences, sequence), (phase, batch, sequence))
        for sequence in sequences
        for batch in batches
        for phase in phases
        if phase == "decode" or batch * sequence <= PREFILL_TOKENS_MAX
    ]
    return [point for _, point in sorted(points, key=lambda ranked: ranked[0])]


def measure_point(stopwatch: Stopwatch, model: Transformer, gpu: Gpu, phase: Phase, batch: int, sequence: int) -> Point:
    """All stacks and pairs at one point; floors are `gpu`'s. What two stacks do alike is one cell."""
    cells: dict[tuple[str, str], Cell] = {}
    for stack in STACKS:
        step = stack_step(stack, phase, batch, sequence)
        for row, works in rows_and_works(model, step, gpu, stopwatch.tools):
            for work in works:
                key = (row.name, how(work))
                if key not in cells:
                    cells[key] = Cell(row, how(work), stopwatch.time(work, row.bytes))
                cells[key].stacks.append(stack)
    pairs = [
        _pair(stopwatch, model, gpu, (phase, batch, sequence), work)
        for work in pair_works(model, phase, batch, sequence, stopwatch.tools)
    ]
    return Point(phase, batch, sequence, list(cells.values()), pairs)


def _pair(stopwatch: Stopwatch, model: Transformer, gpu: Gpu, at: tuple[Phase, int, int], work: Work) -> PairCell:
    kv_cache, attention = work.dims[0], work.dims[1]
    step = replace(stack_step("eager", *at), kv_cache=kv_cache)
    step = step if attention == "eager" else replace(step, attention="flash")
    moved = sum(row.bytes for row in analyse(model, step, gpu).rows if row.name in IN_PAIR)
    return PairCell(kv_cache, attention, moved, stopwatch.time(work, moved))


def measure_sweep(
    stopwatch: Stopwatch, model: Transformer, gpu: Gpu, batches: Sequence[int]
) -> Iterable[tuple[int, Cell]]:
    """The time of each linear layer over the number of tokens in a decoding step, smallest first."""
    for batch in batches:
        for row, works in rows_and_works(model, stack_step("blocked", "decode", batch, 1), gpu, stopwatch.tools):
            if row.name in LINEARS:
                yield batch, Cell(row, how(works[0]), stopwatch.time(works[0], row.bytes))
