"""What an observer of a running run is told, a few times a second. The run does not know who looks."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """A snapshot. Rates and percentiles are over the last few seconds; None where nothing is known yet."""

    target: str = ""  # base URL, model, engine: one line
    dataset: str = ""
    phase: str = "starting"  # starting, waiting for rest, warm-up, measuring, draining, analysing, done
    point: int = 1  # this run is point k …
    points: int = 1  # … of n
    request_rate: float | None = None  # asked, requests/s; None for a closed loop
    elapsed_ns: int = 0  # of this run
    planned_ns: int = 0  # of this run, without the drain
    remaining_ns: int | None = None  # of the whole command, estimated
    planned: int = 0  # requests in the plan
    issued: int = 0
    in_flight: int = 0
    completed: int = 0
    failed: int = 0
    achieved_rate: float = 0.0  # completions/s
    output_throughput: float = 0.0  # output tokens/s
    ttft_ms: tuple[float, float] | None = None  # p50, p99
    tpot_ms: tuple[float, float] | None = None  # p50, p99
    lag_max_ms: float | None = None  # the largest of the last 0.1 s
    note: str = ""  # what the run is for and what is known by now, where somebody decides on the way
    errors: dict[str, int] = field(default_factory=dict)  # by outcome


Observer = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The observer of a run that nobody watches."""
