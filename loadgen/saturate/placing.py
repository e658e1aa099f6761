"""`sweep --rates auto`: a short search says where the server saturates, and the sweep's rates are placed around it.

A sweep that doubles has one point where the curve bends; this one has most of its points there.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadgen.errors import BadInputError
from loadgen.prepare import SetUp
from loadgen.progress import Observer, ignore
from loadgen.saturate.conducting import saturate
from loadgen.units import NS_PER_S

FOLDER = "search"  # inside the sweep's folder; known to sweep.py too, which must not import a search
BUDGET_NS, PRECISION = 120 * NS_PER_S, 0.1  # of the search: the sweep itself measures more closely
SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.97, 1.05, 1.3)  # of the highest stable rate
WITHIN = (0.9, 1.0, 1.1)  # of the highest rate within the SLO
_DIGITS = 3


def rates(
    setup: SetUp,
    folder: Path,
    *,
    observer: Observer = ignore,
    point_done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> str | None:
    """The text of `--rates`; None when the search was interrupted. Raises BadInputError when it found no capacity."""
    settings = dataclasses.replace(setup.settings, budget_ns=BUDGET_NS, precision=PRECISION)
    searching = dataclasses.replace(setup, settings=settings)
    summary = saturate(searching, folder / FOLDER, observer=observer, point_done=point_done)
    if summary["cut"]:
        return None
    return placed(summary)


def placed(summary: dict[str, Any]) -> str:
    """The rates that a search's summary calls for, ascending."""
    found = summary["saturation"]
    stable, within = (found[key] and found[key]["value"] for key in ("max_stable_rate", "max_goodput_rate"))
    if not stable:  # then the most that was ever completed: the sweep itself will say what that is worth
        stable = max((each["throughput"]["value"] for each in summary["probes"] if each["counts"]), default=0.0)
    if not stable:
        raise BadInputError(f"No rates could be placed. {summary['answer']}", "Say which: --rates 1..64.")
    wanted = [share * stable for share in SHARES] + [share * within for share in WITHIN if within]
    return ",".join(f"{rate:g}" for rate in sorted({float(f"{rate:.{_DIGITS}g}") for rate in wanted}))
