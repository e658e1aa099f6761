"""A run while it runs, as the search wants to see it: what has ended and what has come so far become an `Observed`.

It gathers what the recorder tells of each exchange; it decides nothing and knows no clock. Memory: five numbers a
request.
"""

from array import array

import numpy as np

from loadgen.analysis.observed import Observed
from loadgen.analysis.sample import Floats
from loadgen.endpoints.answer import Reading
from loadgen.exchange import FAILED, Done, Looked, Outcome
from loadgen.plan import Int64s, Plan

_RUNNING_SHARE_MAX = 0.999  # an answer that has not ended has something to come
_KNOWN_MIN = 20  # answers, before lengths obtained are held against lengths asked


class Sight:
    """One run of `plan`. Stamps are int64 ns on the run's clock, −1 for none."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._closed = bool(plan.in_flight_max) and bool((plan.due_ns == 0).all())
        self._index, self._issued_ns = array("q"), array("q")
        self._first_ns, self._last_ns, self._failed = array("q"), array("q"), array("b")
        self._asked = self._obtained = self._events = self._answers = 0

    def ended(self, done: Done, reading: Reading) -> None:
        """An exchange is over. What we cut off ourselves is left out: it is taken for running, as it was."""
        if reading.outcome is Outcome.CENSORED:
            return
        ok = reading.outcome is Outcome.OK
        self._index.append(done.index)
        self._issued_ns.append(done.issued_ns)
        self._first_ns.append(reading.token_ns[0] if ok else -1)
        self._last_ns.append(reading.token_ns[-1] if ok else done.done_ns)
        self._failed.append(reading.outcome in FAILED)
        if ok:
            self._answers += 1
            self._asked += int(self._plan.output_tokens[done.index])
            self._obtained += reading.output_tokens
            self._events += len(reading.token_ns)

    @property
    def all_failed(self) -> bool:
        return len(self._failed) > 0 and not self._answers

    @property
    def obtained_ratio(self) -> float:
        """Output tokens obtained over asked: 1 where the server heeds what is asked."""
        return self._obtained / self._asked if self._answers >= _KNOWN_MIN and self._asked else 1.0

    def observed(self, looked: Looked, begun: dict[int, tuple[int, int]]) -> Observed:
        """All up to `looked.time_ns`; `begun`: of the running answers, (first token's stamp, token events so far)."""
        running, issued_ns = (np.frombuffer(each, np.int64) for each in (looked.running, looked.issued_ns))
        return self._table(running, issued_ns, begun, looked.time_ns)

    def upto_end(self) -> Observed:
        """The same when the run is over and nobody looked: up to the last moment at which something was sent."""
        until_ns = max(self._issued_ns, default=0)
        if not self._closed and len(self._plan):
            until_ns = max(until_ns, int(self._plan.due_ns[-1]))
        none = np.empty(0, np.int64)
        return self._table(none, none, {}, until_ns)

    def _table(
        self, running: Int64s, running_issued_ns: Int64s, begun: dict[int, tuple[int, int]], until_ns: int
    ) -> Observed:
        """A column a row of the plan, as far as the plan has come; then the rows that had their turn by `until_ns`."""
        ended = np.array(self._index, np.int64)
        due = 0 if self._closed else int(np.searchsorted(self._plan.due_ns, until_ns, side="right"))
        n = max(due, int(max(ended.max(initial=-1), running.max(initial=-1))) + 1)
        first_ns, last_ns, issued_ns = (np.full(n, np.nan) for _ in range(3))
        share, failed = np.zeros(n), np.zeros(n, np.bool_)
        issued_ns[ended], issued_ns[running] = _known(self._issued_ns), running_issued_ns
        first_ns[ended], last_ns[ended] = _known(self._first_ns), _known(self._last_ns)
        failed[ended] = np.array(self._failed, np.bool_)
        share[ended] = ~failed[ended]
        asked = self._plan.output_tokens[:n].astype(np.float64) * self.obtained_ratio
        tokens_per_event = self._obtained / self._events if self._events else 1.0
        for index in running.tolist():
            if index in begun and np.isnan(last_ns[index]):
                stamp_ns, events = begun[index]
                first_ns[index] = stamp_ns
                share[index] = min(_RUNNING_SHARE_MAX, events * tokens_per_event / max(asked[index], 1.0))
        start_ns = issued_ns if self._closed else self._plan.due_ns[:n].astype(np.float64)
        rows = np.argsort(start_ns, kind="stable")[: int((~np.isnan(start_ns)).sum())]
        latest_ns = max(float(np.nanmax(stamps_ns, initial=until_ns)) for stamps_ns in (first_ns, last_ns))
        whole = Observed(
            start_ns[rows],
            first_ns[rows],
            last_ns[rows],
            share[rows],
            self._plan.input_tokens[:n][rows].astype(np.float64),
            asked[rows],
            failed[rows],
            latest_ns,
        )
        return whole.upto(until_ns)


def _known(stamps_ns: "array[int]") -> Floats:
    """float64, NaN where there is none."""
    values = np.array(stamps_ns, np.float64)
    return np.where(values < 0, np.nan, values)
