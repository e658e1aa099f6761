"""Requests through time: when each one was due, when it could have gone, what was in flight, what was never sent.

Here the loops become one. In an open loop a request is due when the plan says so. In a closed loop (everything due at
once, under a cap) it is due when a slot came free, the first of each slot when it goes; in a session when its
predecessor ended and the think time was over.
"""

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.sample import Bools, Floats, Int64s


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests between their issue and their end: a step function of time."""

    starts_ns: Floats  # ascending
    ends_ns: Floats  # ascending

    def level(self, at_ns: Floats) -> Floats:
        """float64[len(at_ns)]: how many were in flight."""
        started = np.searchsorted(self.starts_ns, at_ns, side="right")
        return np.asarray(started - np.searchsorted(self.ends_ns, at_ns, side="right"), np.float64)

    def means(self, edges_ns: Floats) -> Floats:
        """float64[len(edges_ns) − 1]: the time average between successive edges."""
        return np.diff(_area(self.starts_ns, edges_ns) - _area(self.ends_ns, edges_ns)) / np.diff(edges_ns)

    def mean(self, start_ns: float, end_ns: float) -> float:
        return float(self.means(np.array([start_ns, end_ns]))[0])


def _area(stamps_ns: Floats, upto_ns: Floats) -> Floats:
    """∫ of the counting function of `stamps_ns` up to each time: Σ (t − stamp) over the stamps before t."""
    before = np.searchsorted(stamps_ns, upto_ns, side="right")
    sums = np.concatenate(([0.0], np.cumsum(stamps_ns)))
    return np.asarray(before * upto_ns - sums[before], np.float64)


@dataclass(frozen=True, slots=True)
class Flow:
    """float64[n] per record unless said otherwise, ns on the run's clock, NaN for a stage never reached.

    loop        "open", "closed" (all due at once, under a cap), "burst" (all due at once, no cap) or "batch"
    due_ns      the origin of latency
    done_ns     as recorded
    could_go_ns when it was due and had a slot; issued − could_go is what only we are to blame for
    left_ns     the last byte handed to the socket; issued where that never happened
    held        bool[n], the in-flight cap kept it waiting
    unsent_ns   float64[k], due times of the requests that were due in time and never sent
    """

    loop: str
    due_ns: Floats
    done_ns: Floats
    could_go_ns: Floats
    left_ns: Floats
    held: Bools
    unsent_ns: Floats
    in_flight: InFlight
    ended_ns: float


def flow_of(run: RunData) -> Flow:
    """Works out the times above from plan and records."""
    columns, plan = run.columns, run.plan
    due_ns, issued_ns, done_ns = columns["due_ns"], columns["issued_ns"], columns["done_ns"]
    at_once = bool(len(plan)) and plan.due_ns.min() == plan.due_ns.max() and not (plan.after >= 0).any()
    loop = "open" if not at_once or len(plan) == 1 else "closed" if plan.in_flight_max else "burst"
    loop = "batch" if plan.barriers else loop
    ended_ns = float(run.manifest.get("ended_ns") or np.nanmax(np.concatenate(([0.0], done_ns, due_ns))))

    end_of = np.full(len(plan) + 1, np.inf)  # per row of the plan; the last place stands for "none"
    rows = columns["index"].astype(np.int64)
    end_of[rows] = np.where(np.isnan(done_ns), np.inf, done_ns)
    freed = np.where(plan.after >= 0, end_of[plan.after], -np.inf)
    for index, followed in plan.joins:
        freed[index] = max(freed[index], end_of[followed])
    follows = freed + plan.think_ns
    planned_due_ns = np.maximum(plan.due_ns.astype(np.float64), follows)
    could_go_ns = np.fmax(due_ns, np.where(np.isfinite(follows[rows]), follows[rows], due_ns))
    if plan.barriers:
        could_go_ns = np.maximum(could_go_ns, _batch_begin_ns(run))
    due_ns = could_go_ns
    held = np.zeros(len(run), np.bool_)
    if plan.in_flight_max:
        free_ns = _slot_free_ns(run)
        held = free_ns > could_go_ns
        if loop == "closed":  # the first of each slot waits for nothing and is due at no moment: it goes when it goes
            free_ns = np.where(np.isneginf(free_ns) & ~np.isnan(issued_ns), issued_ns, free_ns)
        could_go_ns = np.maximum(could_go_ns, free_ns)
        due_ns = could_go_ns if loop == "closed" else due_ns
    sent = ~np.isnan(issued_ns)
    ends_ns = np.where(np.isnan(done_ns), max(ended_ns, 0.0), done_ns)[sent]
    return Flow(
        loop=loop,
        due_ns=due_ns,
        done_ns=done_ns,
        could_go_ns=could_go_ns,
        left_ns=np.where(np.isnan(columns["sent_ns"]), issued_ns, columns["sent_ns"]),
        held=held,
        unsent_ns=_unsent_ns(run, planned_due_ns, ended_ns),
        in_flight=InFlight(np.sort(issued_ns[sent]), np.sort(ends_ns)),
        ended_ns=ended_ns,
    )


def batch_of(run: RunData) -> Int64s:
    """int64[n] per record: which batch it belongs to, 0 for those before the first barrier (the warm-up)."""
    return np.searchsorted(np.array(run.plan.barriers), run.columns["index"], side="right").astype(np.int64)


def _batch_begin_ns(run: RunData) -> Floats:
    """float64[n] per record: the last end of the batches before its own; 0 in the first."""
    batch = batch_of(run)
    ends_ns = np.zeros(len(run.plan.barriers) + 2)
    np.fmax.at(ends_ns, batch + 1, run.columns["done_ns"])
    return np.maximum.accumulate(ends_ns)[batch]


def _slot_free_ns(run: RunData) -> Floats:
    """When the slot that each request took came free: with c slots, request k waits for the (k − c)-th end.

    Of several workers each one's c is the most it ever had in flight: its share of the cap.
    """
    issued_ns, done_ns, worker = run.columns["issued_ns"], run.columns["done_ns"], run.columns["worker"]
    free_ns = np.full(len(run), -np.inf)
    workers = np.unique(worker[~np.isnan(worker)])
    for each in workers:
        rows = np.flatnonzero((worker == each) & ~np.isnan(issued_ns))
        rows = rows[np.argsort(issued_ns[rows], kind="stable")]
        ends_ns = np.sort(done_ns[rows])
        ended_before = np.searchsorted(ends_ns, issued_ns[rows], side="right")
        slots = run.plan.in_flight_max
        if len(workers) > 1:
            slots = min(slots, int((np.arange(1, len(rows) + 1) - ended_before).max(initial=1)))
        free_ns[rows[slots:]] = ends_ns[: max(len(rows) - slots, 0)]
    return np.where(np.isnan(free_ns), -np.inf, free_ns)


def _unsent_ns(run: RunData, due_ns: Floats, ended_ns: float) -> Floats:
    plan, manifest = run.plan, run.manifest
    stops_ns = [each for each in (plan.stop_ns, manifest.get("stop_ns")) if each]
    if ((plan.in_flight_max or plan.barriers) and stops_ns) or (manifest.get("cut") and not stops_ns):
        return np.empty(
            0
        )  # what waits for a slot or a batch when sending stops is not late; a crash tells nothing of what was sent
    missing = np.ones(len(plan), np.bool_)
    missing[run.columns["index"].astype(np.int64)] = False
    return due_ns[missing & (due_ns < min([ended_ns, *stops_ns]))]
