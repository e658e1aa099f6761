"""What the user watches while a run runs: a live view in a terminal, a line a point in a pipe, or nothing.

A view is an Observer: it is told, it never asks, so the run does not know the terminal. It starts no thread and
draws at most four frames a second, in the caller's own time, which it must not waste: a frame costs a few ms.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadgen.clock import Clock, MonotonicClock
from loadgen.progress import Progress
from loadgen.report.reading import NOT_KNOWN, metric, point_name, say, words
from loadgen.report.search_screen import probe_line, probes_table
from loadgen.report.text import points_table, verdict_text
from loadgen.units import NS_PER_MS, format_duration, format_number

FRAME_NS = 250 * NS_PER_MS
_HISTORY = 256  # samples kept for a sparkline; beyond, every two become one
_BLOCKS = "▁▂▃▄▅▆▇█"


class View(Protocol):
    """What a command hands to a run: an Observer that is also told of finished points."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, progress: Progress, /) -> None: ...
    def point_done(self, point: dict[str, Any], /) -> None: ...


class QuietView:
    """Nothing until the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def __call__(self, _: Progress, /) -> None:
        return

    def point_done(self, _: dict[str, Any], /) -> None:
        return


class PlainView(QuietView):
    """One plain line a finished point: for pipes and CI logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._done, self._points = 0, 0

    def __call__(self, progress: Progress, /) -> None:
        self._points = progress.points

    def point_done(self, point: dict[str, Any], /) -> None:
        if "probe" in point:
            print(f"probe {probe_line(point)}", file=self._stream, flush=True)
            return
        self._done += 1
        of = f"/{self._points}" if self._points else ""
        print(f"point {self._done}{of}: {point_line(point)}", file=self._stream, flush=True)


def point_line(point: dict[str, Any]) -> str:
    """A finished point in one line of plain text."""
    pairs = [
        f"{name} p50 {say(metric(point, f'p50_{key}_ms'), 'ms')}, p99 {say(metric(point, f'p99_{key}_ms'), 'ms')}"
        for name, key in (("TTFT", "ttft"), ("TPOT", "tpot"))
    ]
    parts = [
        point_name(point),
        f"achieved {say(metric(point, 'achieved_rate'), 'req/s')}",
        say(metric(point, "output_throughput"), "tok/s"),
        *pairs,
        f"{say(metric(point, 'failed'))} failed",
        verdict_text(point, None),
    ]
    return " | ".join(parts)


class LiveView:
    """The live view of a terminal. Use it as a context manager; it leaves nothing behind, the last screen follows."""

    def __init__(self, console: Console, clock: Clock | None = None) -> None:
        self._console = console
        self._clock = clock or MonotonicClock()
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._next_frame_ns = 0
        self._progress = Progress()
        self._ttft_ms, self._tokens = Trail(), Trail()
        self._finished: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, progress: Progress, /) -> None:
        """Take note, and draw if the last frame is old enough; a new phase is shown at once."""
        now_ns = self._clock.now_ns()
        if now_ns < self._next_frame_ns and progress.phase == self._progress.phase:
            return
        self._next_frame_ns = now_ns + FRAME_NS
        if progress.point != self._progress.point:
            self._ttft_ms, self._tokens = Trail(), Trail()
        self._progress = progress
        self._ttft_ms.add(progress.ttft_ms[0] if progress.ttft_ms else None)
        self._tokens.add(progress.output_throughput)
        self._live.update(self.frame(), refresh=True)

    def point_done(self, point: dict[str, Any], /) -> None:
        self._finished.append(point)
        self._live.update(self.frame(), refresh=True)

    def frame(self) -> RenderableType:
        """The picture of this moment, no wider and no higher than the terminal."""
        width, progress = self._console.width, self._progress
        body = Table.grid(padding=(0, 2), expand=True)
        body.add_column(no_wrap=True, style="dim")
        body.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        rows = self._rows(progress, width)
        for label, text in rows:
            body.add_row(label, text)
        title = Text(words(progress.target) or "loadgen", style="bold")
        title.truncate(max(width - 8, 8), overflow="ellipsis")
        panel = Panel(
            Group(_headline(progress, width - 6), "", body),
            title=title,
            title_align="left",
            box=ROUNDED,
            padding=(0, 1),
            width=width,
        )
        room = self._console.height - len(rows) - 9  # the panel's frame, headline and blank; the table's head; a margin
        shown = self._finished[-room:] if room > 0 else []
        if not shown:
            return panel
        hidden = len(self._finished) - len(shown)
        earlier = [Text(f"… and {hidden} before", style="dim")] if hidden else []
        probes = [point["probe"] for point in shown if "probe" in point]
        table = probes_table(probes, width) if probes else points_table(shown, None, width, terse=True)
        return Group(panel, table, *earlier)

    def _rows(self, progress: Progress, width: int) -> list[tuple[str, Text]]:
        trail = max(width - 42, 8)
        asked = "closed loop" if progress.request_rate is None else f"{format_number(progress.request_rate)} asked"
        rate = f"{asked}, {format_number(progress.achieved_rate)} achieved"
        lag = NOT_KNOWN if progress.lag_max_ms is None else say(progress.lag_max_ms, "ms")
        failed = Text(f"{progress.failed:,} failed", style="bold red" if progress.failed else "")
        planned = f" of {progress.planned:,}" if progress.planned and width >= 72 else ""
        rows = [("probe", Text(words(progress.note)))] if progress.note else []
        rows += [
            ("rate, req/s", Text(rate)),
            (
                "requests",
                Text.assemble(f"{progress.completed:,}{planned} done, {progress.in_flight:,} in flight, ", failed),
            ),
            ("TTFT p50, p99", _with_trail(_pair(progress.ttft_ms), self._ttft_ms.draw(trail), "cyan")),
            ("TPOT p50, p99", Text(_pair(progress.tpot_ms))),
            ("output tok/s", _with_trail(format_number(progress.output_throughput), self._tokens.draw(trail), "green")),
            ("our lag at most", Text(lag)),
        ]
        if progress.errors:
            errors = ", ".join(f"{words(name).replace('_', ' ')} {count:,}" for name, count in progress.errors.items())
            rows.append(("errors", Text(errors, style="red")))
        return rows


def _pair(values: tuple[float, float] | None) -> str:
    return NOT_KNOWN if values is None else f"{say(values[0], 'ms')}, {say(values[1], 'ms')}"


def _with_trail(text: str, trail: str, style: str) -> Text:
    return Text.assemble(f"{text:<18}", "  ", (trail, style))


def _headline(progress: Progress, width: int) -> Text:
    """Point, bar, phase and time left on one line; the bar takes what room there is."""
    of = f"point {progress.point} of {progress.points}" if progress.points > 1 else ""
    dataset = words(progress.dataset)
    before = "  ".join(part for part in (dataset, of) if part)
    left = "" if progress.remaining_ns is None else f"{format_duration(round(progress.remaining_ns, -9))} left"
    after = "  ".join(part for part in (progress.phase, left) if part)
    room = max(width - len(before) - len(after) - 4, 4)
    share = min(progress.elapsed_ns / progress.planned_ns, 1.0) if progress.planned_ns else 0.0
    full = round(share * room)
    parts: list[str | tuple[str, str]] = [
        f"{before}  " if before else "",
        ("━" * full, "cyan"),
        ("─" * (room - full), "bright_black"),
    ]
    return Text.assemble(*parts, f"  {after}", no_wrap=True, overflow="ellipsis")


class Trail:
    """A figure over the whole run so far, in bounded memory, drawn as a sparkline; None is a gap."""

    def __init__(self) -> None:
        self._values: list[float | None] = []
        self._pending: list[float | None] = []
        self._stride = 1

    def add(self, value: float | None) -> None:
        self._pending.append(value)
        if len(self._pending) < self._stride:
            return
        self._values.append(_mean(self._pending))
        self._pending.clear()
        if len(self._values) >= _HISTORY:
            self._values = [_mean(self._values[k : k + 2]) for k in range(0, len(self._values), 2)]
            self._stride *= 2

    def draw(self, width: int) -> str:
        """At most `width` blocks, each the mean of its stretch, the highest a full one."""
        count = min(width, len(self._values))
        cuts = [k * len(self._values) // count for k in range(count + 1)] if count else []
        means = [_mean(self._values[start:end]) for start, end in pairwise(cuts)]
        top = max((mean for mean in means if mean is not None), default=0.0)
        if top <= 0:
            return ""
        return "".join(" " if mean is None else _BLOCKS[min(int(mean / top * 8), 7)] for mean in means)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def choose_view(stream: TextIO, quiet: bool, json: bool) -> View:
    """Live in a terminal, a line a point in a pipe or CI, nothing when quiet or when stdout belongs to the JSON."""
    if quiet or json:
        return QuietView()
    if not stream.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return PlainView(stream)
    return LiveView(Console(file=stream))


def _demo(speed: float = 8.0) -> None:
    """A sweep that never happened, `speed` times as fast as it would be."""
    import time

    from loadgen.report.demo import canned_progress, canned_sweep
    from loadgen.report.text import render_final

    summary = canned_sweep()
    with choose_view(sys.stdout, quiet=False, json=False) as view:
        for k, point in enumerate(summary["points"], 1):
            for progress in canned_progress(point, k, len(summary["points"])):
                view(progress)
                time.sleep(0.25 / speed)
            view.point_done(point)
    render_final(summary, Console(), "runs/2026-11-20T14-03-11-demo/report.html")


if __name__ == "__main__":
    _demo()
