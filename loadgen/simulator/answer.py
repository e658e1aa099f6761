"""One HTTP answer while it is being made: takes tokens from the engine and puts their bytes on the connection.

`Choice.emit` is the hot path, once per token: one concatenation, one write, one stamp, a few counts. It writes to the
socket itself, because an event loop that gathers writes would send the first of 256 events when the last is ready, and
the stamp would be wrong. No HTTP is parsed here and nothing is awaited.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.simulator.counters import Counters
from loadgen.simulator.lateness import Lateness
from loadgen.simulator.protocol import Ask
from loadgen.simulator.sequence import Sequence, State
from loadgen.simulator.wire import CHAT, COMPLETION, DONE, ChoiceEvents, answer_json, usage_json

_now_ns = time.monotonic_ns


class Outlet:
    """The write side of a connection: straight to the kernel while it takes everything, else through the transport."""

    __slots__ = ("_fd", "_transport")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()

    def write(self, data: bytes) -> None:
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
        transport.write(data)


@dataclass(slots=True)
class Tally:
    """What all answers count into."""

    counters: Counters = field(default_factory=Counters)
    lateness: Lateness = field(default_factory=Lateness)


class Answer:
    """The choices of one request. `done` is set when the last token of the last choice is out.

    `end_early(output_tokens, min_tokens)` says at which token a choice stops. `outlet` is None when nothing streams.
    """

    def __init__(
        self,
        ask: Ask,
        request_id: str,
        model: str,
        received_ns: int,
        tally: Tally,
        end_early: Callable[[int, int], int],
        outlet: Outlet | None,
        keep_stamps: bool = False,
    ) -> None:
        self.ask = ask
        self.spelling = CHAT if ask.chat else COMPLETION
        self.id = self.spelling.id_prefix + request_id
        self.model = model
        self.created = int(time.time())
        self.received_ns = received_ns
        self.tally = tally
        self.outlet = outlet
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.due_ns: list[int] | None = [] if keep_stamps else None
        self.written_ns: list[int] = []
        self.choices = [
            Choice(self, index, input_tokens, end_early(ask.output_tokens, ask.min_tokens))
            for index, input_tokens in enumerate(ask.prompt_tokens)
        ]
        self._unfinished = len(self.choices)

    @property
    def output_tokens(self) -> int:
        return sum(choice.sequence.emitted for choice in self.choices)

    def finish(self, choice: "Choice", last_event: bytes) -> bytes:
        """Count one choice as finished. Returns its last event, and with the last choice the end of the stream."""
        self._unfinished -= 1
        if self._unfinished:
            return last_event
        if not self.done.done():
            self.done.set_result(None)
        usage = usage_json(self.ask.input_tokens, self.output_tokens)
        return last_event + (choice.events.usage(usage) if self.ask.include_usage else b"") + DONE

    def body(self) -> bytes:
        """The whole answer as JSON, for a request that does not stream."""
        answers = [(choice.sequence.emitted, choice.finish_reason) for choice in self.choices]
        return answer_json(self.spelling, self.id, self.created, self.model, self.ask.input_tokens, answers)


class Choice:
    """One sequence of an answer, and the bytes of its events."""

    __slots__ = ("_count", "_last_due_ns", "_plain", "answer", "events", "finish_reason", "sequence")

    def __init__(self, answer: Answer, index: int, input_tokens: int, output_tokens: int) -> None:
        self.answer = answer
        self.finish_reason = "length" if output_tokens == answer.ask.output_tokens else "stop"
        self.events = ChoiceEvents(answer.spelling, answer.id, answer.created, answer.model, index)
        self.sequence = Sequence(answer.received_ns, input_tokens, output_tokens, self.emit, answer.ask.output_tokens)
        self._count = 0
        self._last_due_ns = 0
        self._plain = answer.outlet is not None and not answer.ask.continuous_usage

    def emit(self, due_ns: int) -> None:
        """Write the next token, which was due at `due_ns`; called by the server while the sequence runs."""
        answer = self.answer
        count = self._count
        self._count = count + 1
        finished = self.sequence.state is State.FINISHED
        if self._plain and count and not finished:
            events = self.events
            answer.outlet.write(events.head + events.tails[count % len(events.tails)])  # type: ignore[union-attr]
        elif answer.outlet is not None:
            answer.outlet.write(self._rare_event(count, finished))
        elif finished:
            self.answer.finish(self, b"")
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

    def _rare_event(self, count: int, finished: bool) -> bytes:
        """The first token, the last one, and every one of a stream that carries usage."""
        ask, events = self.answer.ask, self.events
        input_tokens = self.sequence.input_tokens
        usage = usage_json(input_tokens, count + 1) if ask.continuous_usage else None
        before = b""
        if count == 0:
            before = events.role(usage_json(input_tokens, 0) if ask.continuous_usage else None)
        if not finished:
            return before + events.token(count, usage)
        last = events.last(count, self.finish_reason.encode(), usage, fingerprint=not ask.include_usage)
        return before + self.answer.finish(self, last)
