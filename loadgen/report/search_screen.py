"""A search on the terminal: a line a probe, the table of all decisions, and latency against load as a sparkline.

Only what the summary says, never a colour code of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from loadgen.report.reading import NOT_KNOWN, at, estimate, number, say, sequence, words
from loadgen.units import format_number

TONES = {"stable": "green", "unstable": "yellow", "met": "green", "missed": "yellow"}
_BLOCKS = "▁▂▃▄▅▆▇█"


def probe_line(point: dict[str, Any]) -> str:
    """A judged probe in one line of plain text."""
    probe = point["probe"]
    parts = [
        f"{words(probe, 'number')}: {_name(probe)}, {words(probe, 'why')}",
        f"{_with_interval(at(probe, 'throughput'))} req/s completed",
        f"{say(number(probe, 'requests'))} requests in {say(number(probe, 'window', 'end_s'))} s",
        _verdict(probe),
    ]
    return " | ".join(part for part in parts if part)


def probes_table(probes: Sequence[Any], width: int) -> Table:
    """A row a probe: what was tried, why, what was seen and what was decided; fewer columns in less room."""
    shown = [column for column in _COLUMNS if width >= column.width_min]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in shown:
        justify: JustifyMethod = "left" if column.head in ("probe", "why", "verdict") else "right"
        table.add_column(Text(column.head), justify=justify, no_wrap=column.head not in ("why", "verdict"))
    for probe in probes:
        style = {"why": "dim", "verdict": _tone(probe)}
        table.add_row(*(Text(column.text(probe), style=style.get(column.head, "")) for column in shown))
    return table


def latency_trail(summary: Any) -> str:
    """Latency against the request rate, a block a probe, from the lowest rate to the highest; "" with fewer than 3."""
    known = [
        (level, latency)
        for probe in sequence(summary, "probes")
        if words(probe, "loop") == "open" and at(probe, "counts") is True
        if (level := number(probe, "level")) and (latency := estimate(at(probe, "latency_s"))[0])
    ]
    if len(known) < 3:
        return ""
    known.sort()
    top = max(latency for _, latency in known)
    blocks = "".join(_BLOCKS[min(int(latency / top * 8), 7)] for _, latency in known)
    low, high = (format_number(known[end][0]) for end in (0, -1))
    return f"latency {blocks} from {low} to {high} req/s; {say(1000 * top, 'ms')} at the highest"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, how its cell is written, and from which width of the terminal on it is shown."""

    head: str
    text: Callable[[Any], str]
    width_min: int = 0


def _name(probe: Any) -> str:
    level = format_number(number(probe, "level") or 0.0)
    return f"{level} in flight" if words(probe, "loop") == "closed" else f"{level} req/s"


def _with_interval(value: Any) -> str:
    middle, low, high = estimate(value)
    if middle is None:
        return NOT_KNOWN
    return format_number(middle) + (
        "" if low is None or high is None else f" ({format_number(low)}–{format_number(high)})"
    )


def _verdict(probe: Any) -> str:
    if words(probe, "problem"):
        return "does not count: client-limited"
    if at(probe, "counts") is not True:
        return "too little seen"
    slo = words(probe, "slo_verdict")
    return ", ".join(each for each in (words(probe, "verdict"), slo and f"SLO {slo}") if each)


def _tone(probe: Any) -> str:
    if words(probe, "problem"):
        return "bold red"
    return TONES.get(words(probe, "slo_verdict") or words(probe, "verdict"), "")


def _share_left(probe: Any) -> str:
    return say(estimate(at(probe, "deficit"))[0], "share")


def _latency(probe: Any) -> str:
    latency_s = estimate(at(probe, "latency_s"))[0]
    return say(None if latency_s is None else 1000 * latency_s, "ms")


_COLUMNS = (
    _Column("#", lambda probe: words(probe, "number")),
    _Column("probe", _name),
    _Column("why", lambda probe: words(probe, "why"), 118),
    _Column("requests", lambda probe: say(number(probe, "requests")), 72),
    _Column("completed/s", lambda probe: _with_interval(at(probe, "throughput")), 72),
    _Column("left behind", _share_left, 92),
    _Column("latency", _latency, 92),
    _Column("verdict", _verdict),
)
