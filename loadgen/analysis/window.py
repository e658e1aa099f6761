"""The steady window: which part of a run is judged, in issue time. The warm-up is cut, and so is the drain.

`auto` finds the warm-up in the data with MSER-5 (White 1997): the truncation that makes the mean of the rest most
certain. It looks at in-flight and TPOT, not TTFT, which is too noisy; it never takes more than the first half, and
takes nothing when what it would cut looks like the rest.
"""

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.flow import Flow
from loadgen.analysis.sample import Bools, Floats
from loadgen.exchange import Outcome
from loadgen.units import ns_to_s, s_to_ns

GROUP = 5  # the 5 of MSER-5
IN_FLIGHT_READINGS = 300
GROUPS_MIN = 6  # fewer than 30 readings say nothing about a warm-up


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_ns` to `end_ns`, both ends included; `method` says in words how they were found."""

    start_ns: float
    end_ns: float
    method: str

    @property
    def duration_s(self) -> float:
        return ns_to_s(self.end_ns - self.start_ns)

    def holds(self, at_ns: Floats) -> Bools:
        """bool[len(at_ns)]: what belongs to the window (NaN never)."""
        return (at_ns >= self.start_ns) & (at_ns <= self.end_ns)

    def count(self, at_ns: Floats) -> int:
        """Events for a rate: after the start, up to the end. The arrival that opens the window is not one of them."""
        return int(((at_ns > self.start_ns) & (at_ns <= self.end_ns)).sum())

    def edges_ns(self, parts: int) -> Floats:
        """float64[parts + 1]: equal parts."""
        return np.linspace(self.start_ns, self.end_ns, parts + 1)


def steady_window(run: RunData, flow: Flow, tpot_ns: Floats) -> Window:
    """Crops as `manifest["warmup"]` says: "auto", "none" or seconds. `tpot_ns` per record, NaN where there is none."""
    due_ns = np.sort(np.concatenate((flow.due_ns[~np.isnan(flow.due_ns)], flow.unsent_ns)))
    if flow.loop == "burst":
        done_ns = run.columns["done_ns"][~np.isnan(run.columns["done_ns"])]
        end_ns = float(done_ns.max(initial=0.0))
        return Window(0.0, end_ns, "the whole run: everything was due at once, so it is one drain")
    end_ns = float(due_ns.max(initial=0.0))
    if flow.loop == "batch":
        measured_ns = due_ns[due_ns > 0]  # the warm-up is due at 0
        done_ns = np.nanmax(run.columns["done_ns"], initial=0.0)
        return Window(float(measured_ns.min(initial=done_ns)), float(done_ns), "all batches after the warm-up")
    first_ns = 0.0
    warmup = run.manifest.get("warmup", "auto")
    tail = "ends at the last due time"
    if warmup == "none":
        return Window(first_ns, end_ns, f"no warm-up cut, {tail}")
    if warmup != "auto":
        seconds = float(warmup)
        return Window(min(float(s_to_ns(seconds)), end_ns), end_ns, f"first {seconds:g} s cut as asked, {tail}")
    cuts = {"in flight": _in_flight_cut_ns(flow, first_ns, end_ns), "TPOT": _tpot_cut_ns(run, flow, tpot_ns)}
    half_ns = (first_ns + end_ns) / 2
    by, start_ns = max(cuts.items(), key=lambda cut: cut[1])
    if start_ns <= first_ns:
        return Window(first_ns, end_ns, f"MSER-5 found no warm-up to cut, {tail}")
    return Window(min(start_ns, half_ns), end_ns, f"warm-up cut by MSER-5 on {by}, {tail}")


def truncation(series: Floats) -> int:
    """How many leading values MSER-5 would drop, at most half of them; 0 when they do not differ from the rest.

    Minimises Var(rest)/len(rest) over the means of successive fives. The dropped ones differ when their mean lies
    outside one standard deviation of the rest.
    """
    groups = len(series) // GROUP
    if groups < GROUPS_MIN:
        return 0
    means = series[: groups * GROUP].reshape(groups, GROUP).mean(axis=1)
    errors = [float(means[cut:].var()) / (groups - cut) for cut in range(groups // 2 + 1)]
    cut = int(np.argmin(errors))
    if cut == 0 or abs(means[:cut].mean() - means[cut:].mean()) <= means[cut:].std():
        return 0
    return cut * GROUP


def _in_flight_cut_ns(flow: Flow, first_ns: float, end_ns: float) -> float:
    if end_ns <= first_ns:
        return first_ns
    edges_ns = np.linspace(first_ns, end_ns, IN_FLIGHT_READINGS + 1)
    return float(edges_ns[truncation(flow.in_flight.means(edges_ns))])


def _tpot_cut_ns(run: RunData, flow: Flow, tpot_ns: Floats) -> float:
    rows = np.flatnonzero((run.columns["outcome"] == Outcome.OK) & ~np.isnan(tpot_ns) & ~np.isnan(flow.due_ns))
    rows = rows[np.argsort(flow.due_ns[rows], kind="stable")]
    cut = truncation(tpot_ns[rows])
    return float(flow.due_ns[rows[cut]]) if cut else 0.0
