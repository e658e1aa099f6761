"""One HTTP answer while it is being made: takes tokens from the engine and puts their bytes on the connection.

`Choice.emit` is the hot path, once per token: one concatenation, one write, one stamp, a few counts. It writes to the
socket itself, because an event loop that gathers writes would send the first of 256 events when the last is ready, and
the stamp would be wrong. No HTTP is parsed here and nothing is awaited.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.simulator.counters import Counters
from loadgen.simulator.lateness import Lateness
from loadgen.simulator.protocol import Ask
from loadgen.simulator.sequence import Sequence, State
from loadgen.simulator.styles.style import Style
from loadgen.simulator.wire import (
    DONE,
    END,
    ChoiceEvents,
    Fields,
    answer_json,
    chunks,
    event,
    text_of,
    timings_field,
    usage_field,
)

_now_ns = time.monotonic_ns


class Outlet:
    """The write side of a connection: straight to the kernel while it takes everything, else through the transport.

    What a slow reader leaves gathers here until the loop's next turn, or `flush`: from Python 3.12 on a transport adds
    up its whole buffer at every write, which would make each token cost as much as all those that wait.
    """

    __slots__ = ("_backlog", "_fd", "_loop", "_transport")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._loop = asyncio.get_running_loop()
        self._backlog = bytearray()

    def write(self, data: bytes) -> None:
        if self._backlog:
            self._backlog += data
            return
        transport = self._transport
        if transport.is_closing():  # its descriptor may already belong to another connection
            return
        if transport.get_write_buffer_size() == 0:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # reset by the peer; the loop will hear of it and cancel the request
            if sent == len(data):
                return
            data = data[sent:]
        self._backlog += data
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand the transport what has gathered: at the end of an answer at once, since others may write next."""
        if self._backlog:
            data, self._backlog = self._backlog, bytearray()
            if not self._transport.is_closing():
                self._transport.write(data)


@dataclass(slots=True)
class Tally:
    """What all answers count into."""

    counters: Counters = field(default_factory=Counters)
    lateness: Lateness = field(default_factory=Lateness)


@dataclass(frozen=True, slots=True)
class Manner:
    """How this server answers: its style, and what its operator set.

    `tokens_per_event` is how many tokens share an event; `end_early(output_tokens, min_tokens)` says at which token a
    choice stops, `silent(output_tokens)` at which ones it would have stopped.
    """

    style: Style
    end_early: Callable[[int, int], int]
    silent: Callable[[int], frozenset[int]] = lambda _: frozenset()
    tokens_per_event: int = 1
    keep_stamps: bool = False


class Answer:
    """The choices of one request. `done` is set when the last token of the last choice is out.

    `answer_id` comes with its prefix. `outlet` is None when nothing streams.
    """

    def __init__(
        self,
        ask: Ask,
        answer_id: str,
        model: str,
        received_ns: int,
        tally: Tally,
        manner: Manner,
        outlet: Outlet | None,
    ) -> None:
        self.ask = ask
        self.manner = manner
        self.style = style = manner.style
        self.spelling = style.spelling(chat=ask.chat)
        self.fields: Fields = {
            b"id": json.dumps(answer_id).encode(),
            b"model": json.dumps(model + style.model_suffix).encode(),
            b"created": int(time.time()),
        }
        self.received_ns = received_ns
        self.tally = tally
        self.outlet = outlet
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.due_ns: list[int] | None = [] if manner.keep_stamps else None
        self.written_ns: list[int] = []
        self.first_due_ns = 0
        self.last_due_ns = 0
        self.choices = [
            Choice(self, index, input_tokens, manner.end_early(ask.output_tokens, ask.min_tokens))
            for index, input_tokens in enumerate(ask.prompt_tokens)
        ]
        self._unfinished = len(self.choices)

    @property
    def output_tokens(self) -> int:
        return sum(choice.sequence.emitted for choice in self.choices)

    @property
    def progress(self) -> int:
        """Tokens that were said so far."""
        return sum(choice.said for choice in self.choices)

    def timings(self, output_tokens: int) -> bytes:
        """llama.cpp's account of itself, from the schedule's own times."""
        prompt_ns, predicted_ns = self.first_due_ns - self.received_ns, self.last_due_ns - self.first_due_ns
        return timings_field(self.ask.input_tokens, prompt_ns, output_tokens, predicted_ns)

    def usage(self) -> bytes:
        counted = self.choices[0].sequence.emitted if self.style.copies == "first" else self.output_tokens
        return usage_field(self.style.usage_object, self.ask.input_tokens, counted)

    def open_stream(self) -> None:
        """What this server sends before it computes anything."""
        assert self.outlet is not None
        events = [event(b"null")] if self.style.null_first and self.ask.many_prompts else []
        if self.style.role_at_once:
            events += [choice.events.role() for choice in self.choices]
        self.outlet.write(chunks(events, glued=False))

    def finish(self, events: list[bytes]) -> bytes:
        """Count one choice as finished. Returns its last events, and after the last choice the end of the stream."""
        self._unfinished -= 1
        if self._unfinished:
            return chunks(events, glued=self.style.glued)
        if not self.done.done():
            self.done.set_result(None)
        if self.spelling.usage_rule == "asked" and self.ask.include_usage:
            events.append(self.choices[0].events.usage(self.usage(), self.timings(self.output_tokens)))
        return chunks(events, glued=self.style.glued) + (DONE if self.style.done else b"") + END

    def body(self) -> bytes:
        """The whole answer as JSON, for a request that does not stream."""
        answers = [(choice.sequence.emitted, choice.finish_reason) for choice in self.choices]
        timings = self.timings(self.output_tokens)
        return answer_json(self.style, self.spelling, self.fields, self.ask.input_tokens, answers, timings)


class Choice:
    """One sequence of an answer, and the bytes of its events."""

    __slots__ = (
        "_count",
        "_last_due_ns",
        "_plain",
        "_said",
        "_silent",
        "answer",
        "events",
        "finish_reason",
        "sequence",
    )

    def __init__(self, answer: Answer, index: int, input_tokens: int, output_tokens: int) -> None:
        ask, manner = answer.ask, answer.manner
        self.answer = answer
        self.finish_reason = "length" if output_tokens == ask.output_tokens else "stop"
        self.events = ChoiceEvents(answer.spelling, answer.fields | {b"index": index})
        self.sequence = Sequence(answer.received_ns, input_tokens, output_tokens, self.emit, ask.output_tokens)
        self._count = 0
        self._said = 0  # tokens that an event has carried
        self._last_due_ns = 0
        self._silent = manner.silent(ask.output_tokens) if ask.eos_shows else frozenset()
        counts_along = (ask.continuous_usage and manner.style.running_usage is not None) or self._tells_timings
        self._plain = (
            answer.outlet is not None and not counts_along and manner.tokens_per_event == 1 and not self._silent
        )

    @property
    def said(self) -> int:
        return self._count

    @property
    def _tells_timings(self) -> bool:
        return self.answer.ask.timings_per_token and b"%(timings)b" in self.answer.spelling.token

    def emit(self, due_ns: int) -> None:
        """Write the next token, which was due at `due_ns`; called by the server while the sequence runs."""
        answer = self.answer
        count = self._count
        self._count = count + 1
        finished = self.sequence.state is State.FINISHED
        if self._plain and count and not finished:
            events = self.events
            answer.outlet.write(events.head + events.tails[count % len(events.tails)])  # type: ignore[union-attr]
        else:
            answer.first_due_ns = answer.first_due_ns or due_ns
            answer.last_due_ns = due_ns
            if answer.outlet is not None:
                answer.outlet.write(self._rare_events(count, finished))
                if answer.done.done():
                    answer.outlet.flush()
            elif finished:
                self.answer.finish([])
        written_ns = _now_ns()
        tally = answer.tally
        tally.lateness.add(written_ns - due_ns)
        if answer.due_ns is not None:
            answer.due_ns.append(due_ns)
            answer.written_ns.append(written_ns)
        counters = tally.counters
        counters.generation_tokens += 1
        if count:
            counters.itl.add(due_ns - self._last_due_ns)
        else:
            counters.ttft.add(due_ns - answer.received_ns)
            counters.prompt_tokens += self.sequence.input_tokens
        if finished:
            counters.ended[self.finish_reason] += 1
        self._last_due_ns = due_ns

    def _rare_events(self, count: int, finished: bool) -> bytes:
        """The first token, the last one, and every one of a stream that counts along or gathers tokens."""
        answer, events, style = self.answer, self.events, self.answer.style
        if self._plain:
            self._said = count
        per_event = answer.manner.tokens_per_event
        if count and not finished and (count + 1 - self._said) < per_event:
            return b""
        ready = []
        if count == 0 and not style.role_at_once:
            ready.append(events.role(self._running_usage(0)))
        usage = self._running_usage(count + 1)
        timings = answer.timings(count + 1) if self._tells_timings else b""
        stops = finished and self.finish_reason == "stop"
        text = self._text(count + 1 - stops)
        if not finished:
            return chunks([*ready, events.token(text, usage, timings)], glued=style.glued)
        said = b""
        if answer.spelling.own_finish:
            stop = answer.spelling.stop if stops else None
            if text or stop is not None or not stops:
                ready.append(events.token(text + (stop or b""), usage, timings))
            said, text, ready = chunks(ready, glued=style.glued), b"", []
        if answer.spelling.usage_rule == "last":
            usage = answer.usage()
        ends = answer.spelling.usage_rule != "asked" or not answer.ask.include_usage
        own_timings = answer.timings(count + 1)
        ready.append(events.last(text, self.finish_reason.encode(), usage, own_timings, ends=ends))
        return said + answer.finish(ready)

    def _text(self, count: int) -> bytes:
        """The words from the last event up to token `count`, less those of overruled stops."""
        first, self._said = self._said, count
        if not self._silent:
            return text_of(first, count - first)
        return b"".join(text_of(k, 1) for k in range(first, count) if k not in self._silent)

    def _running_usage(self, count: int) -> bytes:
        template = self.answer.style.running_usage
        if template is None or not self.answer.ask.continuous_usage:
            return b""
        return usage_field(template, self.sequence.input_tokens, count)
