"""Was the server steady? Two questions, kept apart: does it fall behind, and do its latencies stay at one level.

Falling behind is judged by the backlog (due and not done) at the end of the run against what the early latencies
explain. A slope test cannot do this: at capacity a backlog grows as √t, above it linearly, and in a healthy queue it
wanders. So the growth must be large in requests (against √arrivals), in share of the arrivals, and against the scatter
of the requests that are in flight anyway.

What can be had: between M/M/1 at 80 % and at 130 % load the log of (arrivals' pace / service pace) differs by 0.49 and,
from 100 arrivals, is known to 0.15 by one who sees every service time; at 2 % false alarms that finds 88 %. From 400
arrivals on the test here keeps both errors under 2 %; tests/analysis/test_steady.py measures it.
"""

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.estimate import BATCHES_MIN
from loadgen.analysis.flow import Flow, InFlight
from loadgen.analysis.sample import Bools, Floats
from loadgen.analysis.trend import Change, jump, trend
from loadgen.analysis.window import Window

ARRIVALS_MIN = 20  # with fewer nothing is said
# Falling behind: the growth of the backlog must exceed the smaller of these two …
GROWTH_SHARE = 0.06  # … of all arrivals: what a short run can show at all
GROWTH_ROOT = 1.0  # … times √arrivals: below it a server at capacity cannot be told from a healthy one
GROWTH_SCATTER = 2.0  # and this many √(in flight by Little's law): Poisson scatter of the requests in service
GROWTH_MATERIAL = 0.02  # and this share of all arrivals: less is not worth a word
# Plateau: a change must be certain and large. With n values Pettitt's p cannot get below 2·exp(−3n/8): with 20 it never
# gets to 0.001, with 30 only when neighbours do not resemble each other at all, with 60 up to a correlation of 0.5.
SERIES_LENGTH = 60
CHANGE_P = 0.001
MATERIAL = {"tpot": 1.2, "ttft": 1.5, "in_flight": 1.5}  # ratio between the two levels, up or down


@dataclass(frozen=True, slots=True)
class Backlog:
    """`growth`: requests beyond what early latency explains; `limit`: what it had to exceed; `level`: at the end."""

    growth: float
    limit: float
    level: int

    @property
    def grows(self) -> bool:
        return self.growth > self.limit


@dataclass(frozen=True, slots=True)
class Unsteady:
    """A change that is certain and material: which series, found by which test, from what to what."""

    series: str
    kind: str  # "trend" or "jump"
    change: Change


def backlog(flow: Flow, end_ns: float) -> Backlog | None:
    """Whether the server fell behind by `end_ns`; None where arrivals do not set the pace or are too few."""
    due = ~np.isnan(flow.due_ns)
    starts_ns = np.sort(np.concatenate((flow.due_ns[due], flow.unsent_ns)))
    starts_ns = starts_ns[starts_ns <= end_ns]
    arrivals = len(starts_ns)
    if flow.loop != "open" or arrivals < ARRIVALS_MIN or end_ns <= 0:
        return None
    waiting = InFlight(starts_ns, flow.in_flight.ends_ns)
    final = waiting.mean(0.9 * end_ns, end_ns)
    early_ns = _early_latency_ns(flow, due, arrivals)
    # Answers longer than a quarter of the run fill the server for as long as they last: look until then.
    filled_ns = max(end_ns / 4, min(1.1 * early_ns, end_ns / 2))
    explained = min(
        arrivals / end_ns * early_ns,  # Little's law
        float(waiting.level(np.linspace(0, filled_ns, 50)).max()),  # under a heavy overload even early ones are slow
    )
    limit = max(
        min(GROWTH_SHARE * arrivals, GROWTH_ROOT * arrivals**0.5),
        GROWTH_SCATTER * explained**0.5,
        GROWTH_MATERIAL * arrivals,
    )
    return Backlog(final - explained, limit, int(waiting.level(np.array([end_ns]))[0]))


def _early_latency_ns(flow: Flow, due: Bools, arrivals: int) -> float:
    """Mean time from due to done of the first tenth, at least ten; one still running has taken until the end."""
    order = np.argsort(flow.due_ns[due], kind="stable")[: max(10, arrivals // 10)]
    done_ns = np.where(np.isnan(flow.done_ns), flow.ended_ns, flow.done_ns)[due][order]
    return float((done_ns - flow.due_ns[due][order]).mean()) if len(order) else 0.0


def unsteady(flow: Flow, window: Window, series_ns: dict[str, Floats]) -> list[Unsteady]:
    """Changes of level inside the window. `series_ns`: float64[n] per record ("ttft", "tpot"), NaN for no value."""
    found = []
    inside = window.holds(flow.due_ns)
    for name, values_ns in series_ns.items():
        rows = np.flatnonzero(inside & ~np.isnan(values_ns))
        rows = rows[np.argsort(flow.due_ns[rows], kind="stable")]
        found += _changes(name, batch_medians(values_ns[rows]))
    if window.duration_s > 0 and int(inside.sum()) >= SERIES_LENGTH * BATCHES_MIN and flow.loop == "open":
        found += _changes("in_flight", flow.in_flight.means(window.edges_ns(SERIES_LENGTH)))
    return found


def batch_medians(values: Floats) -> Floats:
    """Up to 60 medians of successive values, each of at least five; empty when there are too few for a test."""
    parts = min(SERIES_LENGTH, len(values) // BATCHES_MIN)
    if parts < SERIES_LENGTH // 4:
        return np.empty(0)
    return np.array([np.median(part) for part in np.array_split(values, parts)])


def _changes(name: str, series: Floats) -> list[Unsteady]:
    found = []
    for kind, test in (("trend", trend), ("jump", jump)):
        change = test(series)
        material = max(change.ratio, 1 / change.ratio if change.ratio > 0 else np.inf) >= MATERIAL[name]
        scatter = name == "in_flight" and abs(change.after - change.before) <= 2 * max(change.before, 1.0) ** 0.5
        if change.p < CHANGE_P and material and not scatter:
            found.append(Unsteady(name, kind, change))
    return found
