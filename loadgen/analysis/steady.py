"""Was the server steady? Three questions, kept apart: was it full before the load ended, does it fall behind, and do
its latencies stay at one level.

Full: answers that take S each fill a server to the share E[min(S, t)] / E[S] by t, and to all of it only when the
longest have ended. A load that ends before that, or less than one answer after, has seen the server while it filled:
hardly anything has ended yet, fast or slow, and whether it keeps up cannot be told, unless the queue for the first
token grows already.

Falling behind is judged by the backlog (due and not done) at the end of the run against what the early latencies
explain. A slope test cannot do this: at capacity a backlog grows as √t, above it linearly, and in a healthy queue it
wanders. So there are two limits, and a run can be too short to tell:

- `limit`, above which a healthy server's backlog comes in less than 2 of 100 runs. What is in flight at two moments far
  apart are two Poisson counts, whose difference has the variance 2·N; a queue at 80 % load holds k requests or more in
  0.8^k of all moments; at capacity the backlog grows like √arrivals.
- `least`, below which the backlog of a server with 110 % load stays in less than 2 of 100 runs: it gains 1/11 of what
  arrives once the server is full, with the variance of as many arrivals and as many completions.

Above `limit` the server falls behind. When `least` is the larger of the two, what is below has been shown to keep up.
Else the run is too short for a word; when the backlog is nearly at the limit, that is said.

A batch that fills slows down as it fills, so early latencies explain too little of what runs in the end. What waits for
its first token is judged as above; a backlog that only runs must have gone on growing in the second half of the load,
nearly as much as in the first: a level that is approached is approached more and more slowly. There the two limits are
those of half a load, and chance is larger: at 80 % load what runs has five times the variance of a Poisson count.

Measured on simulated queues, in % of 200 runs each (the tests hold a part of it):

    arrivals                                100   300   600  1200  2000  3000
     80 % load, said to fall behind           2     2     0     0     0     0   the worst of 1 to 256 slots, or no limit
    110 % load, said to fall behind          26    70    85    94    98   100   M/M/1
                                             14    76    96   100   100   100   M/D/1
                                              2    40    82    93    98   100   32 slots
                                              0     0     0     4    73   100   256 slots: 1,000 only fill them
    110 % load, not a word                   58    20     8     4     1     0   M/M/1; the rest: too few samples

Of a server where all run at once, a batch of n taking 1 + c·n (in % of 100 runs, 300 at once at 80 % load; before there
was the second half, in brackets):

    load, in answers' durations               3         5        10
     50 % load, said to fall behind       2 (14)   0 (50)   0 (60)
     80 % load                            8 (82)   4 (96)   2 (98)
    110 % load                            8 (24)  46 (100) 62 (100)  the rest: too short, or maybe

No test does much better: between M/M/1 at 80 % and at 110 % load the log of (arrivals' pace / service pace) differs by
0.32, and one who sees every service time can tell them apart from 332 arrivals on at 2 % errors either way.
"""

from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np

from loadgen.analysis.estimate import BATCHES_MIN
from loadgen.analysis.flow import Flow, InFlight
from loadgen.analysis.sample import Bools, Floats
from loadgen.analysis.trend import Change, jump, trend
from loadgen.analysis.window import Window
from loadgen.units import NS_PER_S

FILLED = 0.95  # share of what is in flight in the long run: from then on the server is full
TURNS, WHOLE_S = 10, 30  # what to run instead: so many answers one after the other, in whole half minutes
ARRIVALS_MIN = 20  # with fewer nothing is said
QUEUE_REACH = log(0.02) / log(0.8)  # requests: the queue of M/M/c at 80 % load is longer in 2 % of all moments
CHANCE = 2.33  # standard deviations: 1 % on one side
GROWTH_ROOT = 1.0  # times √arrivals: below it a server at capacity cannot be told from a healthy one
GROWTH_MATERIAL = 0.02  # share of all arrivals: less is not worth a word
GOES_ON = 0.65  # of its growth in the first half of a load: what grows by less in the second comes nearer to a level
SHARED = 5.0  # 1 / (1 − 0.8): variance of what runs at 80 % load where all share one server, over a Poisson count's
OVERLOAD = 1 / 11  # of the arrivals are left behind at 110 % load: what a run must be able to show
DOUBTFUL = 0.75  # of the limit: a run that is too short, and nearly there, says so
# Plateau: a change must be certain and large. With n values Pettitt's p cannot get below 2·exp(−3n/8): with 20 it never
# gets to 0.001, with 30 only when neighbours do not resemble each other at all, with 60 up to a correlation of 0.5.
SERIES_LENGTH = 60
CHANGE_P = 0.001
MATERIAL = {"tpot": 1.2, "ttft": 1.5, "in_flight": 1.5}  # ratio between the two levels, up or down


@dataclass(frozen=True, slots=True)
class Backlog:
    """`growth`: requests beyond what early latency explains; `limit`, `least`: see above; `level`: at the end."""

    growth: float
    limit: float
    least: float
    level: int

    @property
    def grows(self) -> bool:
        return self.growth > self.limit

    @property
    def doubtful(self) -> bool:
        """The run is too short to know, and looks as if it might."""
        return DOUBTFUL * self.limit < self.growth <= self.limit and self.growth > self.least


@dataclass(frozen=True, slots=True)
class Filling:
    """`stay_ns`: how long answers take on average, at least; `load_ns`: how long requests came, too short for that."""

    stay_ns: float
    load_ns: float

    @property
    def enough_s(self) -> int:
        """A load that would do, also when a full server takes some times as long for each."""
        return ceil(max(TURNS * self.stay_ns, 2 * self.load_ns) / NS_PER_S / WHOLE_S) * WHOLE_S


@dataclass(frozen=True, slots=True)
class Unsteady:
    """A change that is certain and material: which series, found by which test, from what to what."""

    series: str
    kind: str  # "trend" or "jump"
    change: Change


def fallen_behind(
    flow: Flow, first_ns: Floats, rows: Bools, cut: Bools, end_ns: float
) -> tuple[Backlog | None, Filling | None]:
    """The backlog when the load ended, at `end_ns`, and whether that was too early to judge the whole of the answers.

    Then only the queue for the first token is judged, `first_ns` per record: it is there from the beginning, while what
    runs grows until the first answers end, and slows down what runs beside it. `rows`: bool[n], whose answers count;
    `cut`: bool[n], which of them we ended ourselves when the run was over.
    """
    first_ns = np.fmin(first_ns, flow.done_ns)
    ends_ns = np.sort(np.where(np.isnan(first_ns), flow.ended_ns, first_ns)[~np.isnan(flow.due_ns)])
    queue = backlog(replace(flow, done_ns=first_ns, in_flight=replace(flow.in_flight, ends_ns=ends_ns)), end_ns)
    short = _filling(flow, flow.due_ns, rows, cut, end_ns)
    if short is not None:
        return queue, _filling(flow, first_ns, rows, cut, end_ns) if queue is not None and queue.grows else short
    whole = backlog(flow, end_ns)
    if whole is None or (queue is not None and (queue.grows or queue.doubtful)):
        return whole, None
    return _going_on(whole, flow, end_ns), None


def _going_on(whole: Backlog, flow: Flow, end_ns: float) -> Backlog:
    """What has grown beyond what early latency explains, by how much of it came in the second half of the load."""
    if whole.growth <= DOUBTFUL * whole.limit:
        return whole
    starts_ns = _arrivals_ns(flow, end_ns)
    first, final = InFlight(starts_ns, flow.in_flight.ends_ns).means(end_ns * np.array([0.4, 0.5, 0.9, 1.0]))[[0, 2]]
    since = int((starts_ns > end_ns / 2).sum())
    chance = CHANCE * (2 * SHARED * first) ** 0.5
    limit = max(QUEUE_REACH, chance, GROWTH_MATERIAL * since)
    growth = min(final - first, whole.growth)
    if growth < GOES_ON * first:
        growth = min(growth, limit)
    return Backlog(growth, limit, OVERLOAD * since - chance, whole.level)


def _filling(flow: Flow, since_ns: Floats, rows: Bools, cut: Bools, end_ns: float) -> Filling | None:
    """None when the load went on until the server was full and one answer more had ended, and where arrivals do not set
    the pace.

    What still ran when the run ended lasts so long at least: Kaplan and Meier's estimate (1958) for lives that are cut
    short, and beyond the longest of them an exponential tail with the mean of all.
    """
    rows = rows & ~np.isnan(since_ns)
    stays_ns = (np.fmin(flow.done_ns, flow.ended_ns) - since_ns)[rows]
    if flow.loop != "open" or end_ns <= 0 or not len(stays_ns):
        return None
    order = np.argsort(stays_ns, kind="stable")
    stays_ns, ended = stays_ns[order], (~cut & ~np.isnan(flow.done_ns))[rows][order]
    going_on = np.cumprod(1 - ended / np.arange(len(stays_ns), 0, -1))  # share that lasts longer than each of them
    filled_ns = np.cumsum(np.append(1.0, going_on[:-1]) * np.diff(stays_ns, prepend=0.0))  # E[min(S, t)] there
    mean_ns = float(filled_ns[-1] + going_on[-1] * stays_ns.sum() / max(ended.sum(), 1))
    full_ns = float(np.interp(FILLED * mean_ns, np.append(0.0, filled_ns), np.append(0.0, stays_ns)))
    return Filling(float(filled_ns[-1]), end_ns) if end_ns < full_ns + mean_ns else None


def backlog(flow: Flow, end_ns: float) -> Backlog | None:
    """Whether the server fell behind by `end_ns`; None where arrivals do not set the pace, or too little is known."""
    due = ~np.isnan(flow.due_ns)
    starts_ns = _arrivals_ns(flow, end_ns)
    arrivals = len(starts_ns)
    if flow.loop != "open" or arrivals < ARRIVALS_MIN or end_ns <= 0:
        return None
    waiting = InFlight(starts_ns, flow.in_flight.ends_ns)
    final = waiting.mean(0.9 * end_ns, end_ns)
    early_ns = _early_latencies_ns(flow, due, arrivals)
    # Answers fill the server as long as the longest of them last.
    filled_ns = min(max(end_ns / 4, 3 * float(early_ns.mean())), end_ns)
    rate = arrivals / end_ns
    explained = min(
        rate * float(early_ns.mean()),  # Little's law
        float(waiting.level(np.linspace(0, filled_ns, 50)).max()),
    )
    if any(_hopeless(flow, due, float(early_ns[:10].mean()), at_ns) for at_ns in np.linspace(end_ns, flow.ended_ns, 9)):
        explained = min(explained, final / 2)
    scatter = 2 * explained + (rate * float(early_ns.std())) ** 2 / len(early_ns)
    limit = max(QUEUE_REACH, GROWTH_ROOT * arrivals**0.5, CHANCE * scatter**0.5, GROWTH_MATERIAL * arrivals)
    since = arrivals * (1 - filled_ns / end_ns)
    least = OVERLOAD * since - CHANCE * (2 * since + scatter) ** 0.5
    return Backlog(final - explained, limit, least, int(waiting.level(np.array([end_ns]))[0]))


def _arrivals_ns(flow: Flow, end_ns: float) -> Floats:
    """Ascending: when those were due that came while the load lasted, sent or not."""
    starts_ns = np.sort(np.concatenate((flow.due_ns[~np.isnan(flow.due_ns)], flow.unsent_ns)))
    return starts_ns[starts_ns <= end_ns]


def _early_latencies_ns(flow: Flow, due: Bools, arrivals: int) -> Floats:
    """From due to done of the first tenth, at least ten; one that never ended has taken until the run ended."""
    order = np.argsort(flow.due_ns[due], kind="stable")[: max(10, arrivals // 10)]
    done_ns = np.where(np.isnan(flow.done_ns), flow.ended_ns, flow.done_ns)[due][order]
    return np.asarray(done_ns - flow.due_ns[due][order]) if len(order) else np.zeros(1)


def _hopeless(flow: Flow, due: Bools, first_ns: float, at_ns: float) -> bool:
    """Of those that had twice the time that the first ten took, most are not done: early latency explains nothing."""
    had_time = due & (flow.due_ns <= at_ns - 2 * first_ns)
    done = had_time & (flow.done_ns <= at_ns)  # NaN: not done
    return int(had_time.sum()) >= ARRIVALS_MIN and int(done.sum()) < int(had_time.sum()) / 2


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
