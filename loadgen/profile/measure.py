"""One profile from the first warm-up to the last repetition: limits, self-test, sweep, grid, limits again.

A part that fails is named with its error and the next one is tried. The limits are measured a second time at the end,
so that a card that slowed down meanwhile is seen.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from loadgen.errors import EngineError
from loadgen.profile.bench import Bench, describe_bench, first_line, raise_if_broken
from loadgen.profile.grid import Cell, Point, Stopwatch, kind, measure_point, measure_sweep
from loadgen.profile.limits import Reached, measure_launch, measure_limits, measured_gpu
from loadgen.profile.selftest import Check, check_all
from loadgen.profile.timing import Effort, Timing
from loadgen.profile.works import Phase
from loadgen.roofline.gpus import Gpu
from loadgen.roofline.transformer import Transformer

Chosen = Literal["measured", "datasheet"]
KEEP_EVERY_S = 10  # a document of a hundred points takes a while to make


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure: the grid, the batches of the sweep (none: no sweep), and whose limits the floors are.

    No point of the grid begins later than `within_s` seconds after the start.
    """

    grid: Sequence[tuple[Phase, int, int]]
    sweep: Sequence[int]
    chosen: Chosen
    effort: Effort
    within_s: float
    quick: bool = False
    command: str = ""


@dataclass(slots=True)
class Profile:
    """All that was measured. `datasheet` is None for a GPU that gpus.py does not know; `left_out` are the grid's points
    for which there was no time, `troubles` the parts that failed, each with its error."""

    model: Transformer
    device: dict[str, Any]
    wanted: Wanted
    datasheet: Gpu | None
    measured: Gpu | None = None
    launch: Timing | None = None
    checks: list[Check] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    reached_again: list[Reached] = field(default_factory=list)
    sweep: list[tuple[int, Cell]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    left_out: list[tuple[Phase, int, int]] = field(default_factory=list)
    troubles: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0

    @property
    def gpu(self) -> Gpu:
        """The GPU whose limits floors and shares are of. Raises EngineError where none is known."""
        first, second = self.measured, self.datasheet
        chosen = (second or first) if self.wanted.chosen == "datasheet" else (first or second)
        if chosen is None:
            raise EngineError("The limits of this device could not be measured.", "; ".join(self.troubles[0]))
        return chosen


def measure(
    bench: Bench,
    model: Transformer,
    datasheet: Gpu | None,
    wanted: Wanted,
    say: Callable[[str], None],
    keep: Callable[[Profile], object],
) -> Profile:
    """Measure all that is wanted; `say` is called with each part's name, `keep` with what there is every ten seconds.

    Raises EngineError when the GPU fails, after a last `keep`. What the self-test finds wrong is not timed.
    """
    start = kept = time.monotonic()
    profile = Profile(model, describe_bench(bench), wanted, datasheet)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        nonlocal kept
        say(name)
        try:
            yield
            bench.forget()
        except Exception as error:  # noqa: BLE001 (see grid.py)
            profile.troubles.append((name, first_line(error)))
            profile.seconds = time.monotonic() - start
            if profile.measured or datasheet:
                keep(profile)
            raise_if_broken(bench, error, name)
        profile.seconds = time.monotonic() - start
        if time.monotonic() - kept > KEEP_EVERY_S and (profile.measured or datasheet):
            keep(profile)
            kept = time.monotonic()

    with part("limits"):
        profile.reached.extend(measure_limits(bench, model, wanted.effort, quick=wanted.quick))
        profile.measured = measured_gpu(bench.name, profile.reached, datasheet)
        profile.launch = measure_launch(bench, wanted.effort)
    gpu = profile.gpu
    with part("self-test"):
        profile.checks.extend(check_all(bench, model))
    if broken := [check for check in profile.checks if not check.passed and check.triton]:
        bench.triton = False
        why = broken[0].trouble or f"an error of {broken[0].error}"
        profile.troubles.append(("Triton kernels", f"{broken[0].name}: {why}; torch operations take their place"))
    stopwatch = Stopwatch(bench, wanted.effort, _wrong(profile.checks))
    if wanted.sweep:
        with part("linear layers"):
            profile.sweep.extend(measure_sweep(stopwatch, model, gpu, wanted.sweep))
    for phase, batch, sequence in wanted.grid:
        if time.monotonic() - start > wanted.within_s:
            profile.left_out.append((phase, batch, sequence))
            continue
        with part(f"{phase}, batch {batch:,}, {sequence:,} tokens"):
            profile.points.append(measure_point(stopwatch, model, gpu, phase, batch, sequence))
    with part("limits again"):
        profile.reached_again.extend(measure_limits(bench, model, wanted.effort, quick=wanted.quick))
    return profile


def _wrong(checks: Sequence[Check]) -> dict[str, str]:
    return {
        kind(check.work): "failed the self-test" for check in checks if check.error is not None and not check.passed
    }
