"""From exchanges to columns on disk, off the hot path: decode, count, write, and tell who watches.

Memory: the open answers' token stamps, one second of rows, a few seconds of figures for the live view; nothing that
grows with the length of the run.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.endpoints.answer import Answer, Reading
from loadgen.endpoints.tokens import Asked
from loadgen.exchange import FAILED, Done, Outcome, Part, Tick
from loadgen.plan import Int64s, Plan
from loadgen.records import folder
from loadgen.records.histogram import HistogramLog
from loadgen.records.reads import times_of
from loadgen.records.schema import RECORD, TELEMETRY
from loadgen.records.writer import ColumnWriter
from loadgen.units import NS_PER_S

_FLUSH_NS = NS_PER_S
_RECENT_NS = 5 * NS_PER_S
Tap = Callable[[Done, Reading], None]
_READ_DELAYS_MAX = 100_000  # per tick; more than any tick brings at 100,000 events/s
_SHOWN_MIN = 0.9  # of the tokens asked for, as events: fewer may be an answer that filled its context


class Recent:
    """What the live view shows: the last few seconds, in bounded memory."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.completed = self.failed = 0
        self._rows: deque[tuple[int, int, float, float]] = deque(maxlen=5000)  # done_ns, tokens, ttft_ms, tpot_ms

    def add(self, done_ns: int, outcome: Outcome, tokens: int, ttft_ms: float, tpot_ms: float) -> None:
        if outcome is Outcome.OK:
            self.completed += 1
            self._rows.append((done_ns, tokens, ttft_ms, tpot_ms))
        else:
            self.errors[outcome] += 1
            self.failed += outcome in FAILED

    def figures(self, now_ns: int) -> tuple[float, float, tuple[float, float] | None, tuple[float, float] | None]:
        """(completions/s, output tokens/s, TTFT p50 and p99 in ms, TPOT p50 and p99 in ms) of the last 5 s."""
        rows = np.array([row for row in self._rows if row[0] > now_ns - _RECENT_NS])
        if not len(rows):
            return 0.0, 0.0, None, None
        seconds = min(_RECENT_NS, max(now_ns, 1)) / NS_PER_S
        ttft_ms, tpot_ms = (each[~np.isnan(each)] for each in (rows[:, 2], rows[:, 3]))
        latencies = [_two(each) if len(each) else None for each in (ttft_ms, tpot_ms)]
        return len(rows) / seconds, float(rows[:, 1].sum()) / seconds, latencies[0], latencies[1]


def _two(values: npt.NDArray[Any]) -> tuple[float, float]:
    """p50 and p99 by nearest rank: a fifth of what numpy's own take, ten times a second."""
    ordered, n = np.sort(values), len(values)
    return float(ordered[(n - 1) // 2]), float(ordered[-1 - n // 100])


class Recorder:
    """One worker's exchanges of one run. `tap` is told of each as it ends.

    `lengths_asked`: each request says the plan's length as its max_tokens, so an answer that ended for its length may
    be counted by it: surely where prompt and answer fit `context_max` tokens or this server puts several tokens into an
    event (`shares_events`), else only if its events nearly say so.
    """

    def __init__(
        self,
        run_folder: Path,
        plan: Plan,
        *,
        stream: bool,
        worker: int = 0,
        tap: Tap = lambda _, __: None,
        lengths_asked: bool = False,
        context_max: int | None = None,
        shares_events: bool = False,
    ) -> None:
        self._tap = tap
        self._plan = plan
        self._lengths_asked = lengths_asked
        self._context_max = context_max or 0
        self._shares_events = shares_events
        self._stream = stream
        self._worker = worker
        self._open: dict[int, Answer] = {}
        self._delay_max_ns: dict[int, int] = {}
        self._delays: list[Int64s] = []
        self._delay_count = 0
        self._records = ColumnWriter(run_folder / folder.RECORDS / f"{worker}.arrows", RECORD)
        self._telemetry = ColumnWriter(run_folder / folder.TELEMETRY_FILE, TELEMETRY)
        self._histograms = HistogramLog(run_folder / folder.HISTOGRAMS, time.time())
        self._flushed_ns = 0
        self.recent = Recent()
        self.last_tick = Tick(0, {})

    def part(self, part: Part) -> None:
        """Bytes of an answer."""
        answer = self._open.get(part.index)
        if answer is None:
            answer = self._open[part.index] = Answer(self._stream, self._asked(part.index))
        stamps_ns, delays = times_of(part)
        if len(delays):
            self._delay_max_ns[part.index] = max(self._delay_max_ns.get(part.index, 0), int(delays.max()))
            if self._delay_count < _READ_DELAYS_MAX:
                self._delays.append(delays)
                self._delay_count += len(delays)
        answer.feed(part.body, np.frombuffer(part.ends, np.int32), stamps_ns)

    def _asked(self, index: int) -> Asked | None:
        if not self._lengths_asked:
            return None
        tokens = int(self._plan.output_tokens[index])
        sure = self._shares_events or int(self._plan.input_tokens[index]) + tokens <= self._context_max
        return Asked(tokens, 1 if sure else math.ceil(_SHOWN_MIN * tokens))

    def done(self, done: Done) -> None:
        """The end of an exchange: its row."""
        answer = self._open.pop(done.index, None) or Answer(self._stream)
        reading = answer.finish(done.status, done.outcome, done.detail)
        token_ns = np.array(reading.token_ns, np.int64)
        tokens = token_ns if self._stream else token_ns[:0]  # a whole answer has no first token
        plan, index = self._plan, done.index
        self._records.append(
            (
                index,
                plan.labels[int(plan.label[index])],
                self._worker,
                done.due_ns,
                _known(done.issued_ns),
                _known(done.sent_ns),
                _known(reading.first_event_ns),
                int(tokens[0]) if len(tokens) else None,
                int(token_ns[-1]) if len(token_ns) else None,
                _known(done.done_ns),
                done.status,
                reading.outcome.value,
                reading.detail,
                reading.finish_reason,
                int(plan.input_tokens[index]),
                int(plan.output_tokens[index]),
                reading.input_tokens,
                reading.output_tokens,
                reading.token_source,
                reading.events,
                reading.empty_events,
                reading.multi_token_events,
                reading.body_bytes,
                done.connection,
                done.reused,
                done.retries,
                "kernel" if done.kernel_stamps else "user",
                reading.shared_stamps,
                self._delay_max_ns.pop(index, None),
                tokens,
                reading.token_counts,
            )
        )
        self._note(done, reading, tokens)
        self._tap(done, reading)

    def begun(self) -> dict[int, tuple[int, int]]:
        """Of the answers that still come, as far as they have been handed over: see `Answer.begun`."""
        return {index: begun for index, answer in self._open.items() if (begun := answer.begun) is not None}

    def _note(self, done: Done, reading: Reading, tokens: Int64s) -> None:
        """Feed the histograms and the live figures."""
        ttft_ms = tpot_ms = float("nan")
        if reading.outcome is Outcome.OK and len(tokens):
            ttft_ns, e2el_ns = int(tokens[0]) - done.due_ns, int(tokens[-1]) - done.due_ns
            ttft_ms = ttft_ns / 1e6
            self._histograms.add("ttft", np.array([ttft_ns]))
            self._histograms.add("e2el", np.array([e2el_ns]))
            self._histograms.add("itl", np.diff(tokens))
            if reading.output_tokens > 1:
                tpot_ms = (e2el_ns - ttft_ns) / (reading.output_tokens - 1) / 1e6
        if done.issued_ns >= 0:
            self._histograms.add("lag", np.array([done.issued_ns - done.due_ns]))
        self.recent.add(done.done_ns, reading.outcome, reading.output_tokens, ttft_ms, tpot_ms)

    def tick(self, tick: Tick) -> None:
        """The load process about itself; also the beat at which files are flushed."""
        self.last_tick = tick
        for name, value in tick.readings.items():
            self._telemetry.append((tick.time_ns, "client", name, float(value)))
        if self._delays:
            p50, p99 = _two(np.concatenate(self._delays))
            self._telemetry.append((tick.time_ns, "client", "read_delay_p50_ns", p50))
            self._telemetry.append((tick.time_ns, "client", "read_delay_p99_ns", p99))
            self._delays, self._delay_count = [], 0
        if tick.time_ns - self._flushed_ns >= _FLUSH_NS:
            self.flush(tick.time_ns)

    def server(self, time_ns: int, readings: dict[str, float]) -> None:
        """Gauges of the server, scraped on the run's clock."""
        for name, value in readings.items():
            self._telemetry.append((time_ns, "server", name, value))

    def flush(self, now_ns: int) -> None:
        """Everything gathered goes to disk: a crash after this loses nothing before it."""
        self._records.flush()
        self._telemetry.flush()
        self._histograms.write_interval(self._flushed_ns / NS_PER_S, now_ns / NS_PER_S)
        self._flushed_ns = now_ns

    def close(self, now_ns: int) -> None:
        self.flush(now_ns)
        self._records.close()
        self._telemetry.close()
        self._histograms.close()


def _known(ns: int) -> int | None:
    return ns if ns >= 0 else None
