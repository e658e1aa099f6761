"""One answer, read as its bytes come: which events carried tokens, when, how many, and how it ended.

Runs in the recorder, off the hot path. An answer is fed in parts of any size; the same bytes cut anywhere give the same
reading (tests/endpoints/test_answer.py cuts them everywhere).
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from loadgen.endpoints.openai import (
    Event,
    TokenKind,
    Usage,
    decode_event,
    decode_events,
    error_text,
    failure_text,
    has_output,
    kind_of,
    whole_number,
)
from loadgen.endpoints.regular import Shape, regular, shape_of
from loadgen.endpoints.sse import SseReader
from loadgen.endpoints.tokens import Asked, Tokens, count_tokens
from loadgen.exchange import Outcome
from loadgen.plan import Int64s

_BODY_BYTES_KEPT = 64 << 20  # of an answer that is no stream; more than any honest one needs
_START_BYTES = 2000  # of a streamed answer: enough to tell what it is when it is no stream
_FIELDS = (b"data", b"event", b"id", b"retry", b"")  # of server-sent events; a comment is a field without a name
_FIRST_EVENTS = 3  # decoded to learn what the others look like: a role, a token, one more
_UNREADABLE = object()  # in the place of an event's object: it could not be decoded


@dataclass(slots=True)
class Reading:
    """What an answer said. Times are those of the reads that completed the events, int64 ns; -1 for none."""

    outcome: Outcome
    detail: str
    finish_reason: str | None
    first_event_ns: int
    token_ns: list[int]
    token_counts: list[int] | None  # tokens of each token event; None when each carried one
    input_tokens: int | None
    output_tokens: int
    token_source: str
    events: int
    empty_events: int
    multi_token_events: int  # when only the total is known: at most so many
    body_bytes: int
    shared_stamps: int


class Answer:
    """Feed it the body with the stamps of its reads; `finish` says what it was.

    `asked` is how long it was asked to be, where the request said so and several answers were not wanted.
    """

    def __init__(self, stream: bool, asked: Asked | None = None) -> None:
        self._stream = stream
        self._asked = asked
        self._sse = SseReader()
        # Of the reads that brought what is not a whole event yet: where each ended in the body, and when it came.
        self._ends = self._stamps = np.empty(0, np.int64)
        self._read_of_last_event = -1
        self._reads_before = 0  # reads before those
        self._bytes = 0
        self._head = bytearray()
        self._whole: list[bytes] = []
        self._tokens = Tokens()
        self._shape: Shape | None = None  # of the events that carry a token and nothing else
        self._events = self._shared = 0
        self._first_event_ns = self._last_read_ns = -1
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._done_mark = False
        self._stray = False  # JSON that is no completion came: a ping, perhaps, or another protocol
        self._problem: tuple[Outcome, str] | None = None

    @property
    def begun(self) -> tuple[int, int] | None:
        """(stamp of the first event with text, token events so far), while the answer still comes; None before it."""
        kinds = self._tokens.kinds
        if TokenKind.TEXT not in kinds:
            return None
        return self._tokens.stamps_ns[kinds.index(TokenKind.TEXT)], len(kinds)

    def feed(self, body: bytes, ends: Int64s, stamps_ns: Int64s) -> None:
        """Bytes of the body; `ends` are the lengths of `body` after each read, `stamps_ns` when each read arrived."""
        if len(stamps_ns):
            self._last_read_ns = int(stamps_ns[-1])
        start = self._bytes
        self._bytes += len(body)
        if not self._stream:
            if self._bytes <= _BODY_BYTES_KEPT:
                self._whole.append(body)
            return
        if not body:
            return
        kept = _BODY_BYTES_KEPT if (self._head or body).startswith(b"{") else _START_BYTES
        if len(self._head) < kept:
            self._head += body[: kept - len(self._head)]
        self._ends = np.concatenate((self._ends, ends.astype(np.int64) + start))
        self._stamps = np.concatenate((self._stamps, stamps_ns))
        data, event_ends = self._sse.feed(body)
        if data:
            self._take(data, event_ends)
        kept = int(np.searchsorted(self._ends, self._sse.consumed, side="right"))
        self._reads_before += kept
        self._ends, self._stamps = self._ends[kept:], self._stamps[kept:]

    def _take(self, data: list[bytes], event_ends: list[int]) -> None:
        """Give each event the stamp of the read that brought its last byte."""
        reads = np.searchsorted(self._ends, event_ends)
        stamps = self._stamps[reads].tolist()
        numbers = np.concatenate(([self._read_of_last_event], reads + self._reads_before))
        self._shared += int(np.count_nonzero(numbers[1:] == numbers[:-1]))
        self._read_of_last_event = int(numbers[-1])
        if self._first_event_ns < 0:
            self._first_event_ns = stamps[0]
        self._events += len(data)
        if data[-1].strip() == b"[DONE]":
            self._done_mark = True
            self._events -= 1
            data = data[:-1]
        begun = 0 if self._shape is not None else min(_FIRST_EVENTS, len(data))
        self._decode(data[:begun], stamps)
        same = regular(data[begun:], self._shape) if self._shape is not None else 0
        self._tokens.stamps_ns += stamps[begun : begun + same]
        self._tokens.kinds += [TokenKind.TEXT] * same
        self._decode(data[begun + same :], stamps[begun + same :])

    def _decode(self, data: list[bytes], stamps: list[int]) -> None:
        """Take events as they are; what a plain one looked like is kept for the next."""
        try:
            events = decode_events(data) if data else []
        except msgspec.DecodeError:
            events = self._decode_one_by_one(data)
        kinds, keep_stamp = self._tokens.kinds, self._tokens.stamps_ns.append
        plain = -1
        for at, (event, stamp_ns) in enumerate(zip(events, stamps, strict=False)):
            if event is None:
                continue
            choices = event.choices
            if choices:
                kind = kind_of(choices)
                if kind:
                    keep_stamp(stamp_ns)
                    kinds.append(kind)
                    if kind == TokenKind.TEXT:
                        plain = at
                    if isinstance(choices[0].token_ids, list) and choices[0].token_ids:
                        self._tokens.counts[len(kinds) - 1] = len(choices[0].token_ids)
                    if event.usage is not None and (so_far := whole_number(event.usage.completion_tokens)) is not None:
                        self._tokens.cumulative[len(kinds) - 1] = so_far
                for choice in choices:
                    if choice.finish_reason is not None:
                        self._finish_reason = str(choice.finish_reason)
                        self._tokens.until = len(kinds)
                    if choice.index:
                        self._tokens.one_choice = False
            if event.usage is not None:
                self._usage = event.usage
            if event.error is not None or (choices is None and event.usage is None):
                self._note_other(event)
        if plain >= 0 and (latest := events[plain]) is not None:
            self._shape = shape_of(data[plain], latest) or self._shape

    def _note_other(self, event: Event) -> None:
        """An error, JSON that is neither choices nor usage, or no JSON. The first problem is the one that is told."""
        if event.object is _UNREADABLE:
            self._problem = self._problem or (Outcome.NOT_OPENAI, f"an event that is not JSON: {event.message}")
        elif event.problem is None:
            self._stray = True
        else:
            self._problem = self._problem or (Outcome.STREAM_ERROR, error_text(event.problem))

    def _decode_one_by_one(self, data: list[bytes]) -> list[Event | None]:
        """Something among these is no event: find it, keep the rest."""
        events: list[Event | None] = []
        for one in data:
            try:
                events.append(decode_event(one))
            except msgspec.DecodeError:
                start = repr(one[:60].decode("utf-8", "replace"))
                events.append(Event(object=_UNREADABLE, message=start) if one.strip() not in (b"", b"[DONE]") else None)
                if one.strip() == b"[DONE]":
                    self._done_mark = True
                    self._events -= 1
        return events

    def finish(self, status: int, outcome: Outcome, detail: str) -> Reading:
        """The exchange has ended as the transport says; the content may know better."""
        if status >= 400 and outcome in (Outcome.OK, Outcome.TRUNCATED):
            text = failure_text(bytes(self._head) if self._stream else b"".join(self._whole))
            return self._reading(Outcome.HTTP_ERROR, f"HTTP {status}: {text}" if text else f"HTTP {status}")
        if not self._stream:
            return self._finish_whole(b"".join(self._whole), outcome, detail)
        if outcome not in (Outcome.OK, Outcome.TRUNCATED):
            return self._reading(outcome, detail)
        data, ends = self._sse.finish()
        if data and not _is_whole(data[-1]):  # the stream ended within it
            data, ends = data[:-1], ends[:-1]
        if data:
            self._take(data, ends)
        if self._events == 0 and not self._done_mark and not _is_event_stream(self._head):
            return self._finish_unstreamed(outcome, detail)
        return self._reading(*self._verdict(outcome, detail))

    def _verdict(self, outcome: Outcome, detail: str) -> tuple[Outcome, str]:
        """End of stream: success is a finish_reason or `[DONE]`; a connection that ends without either was cut."""
        if self._problem is not None:
            return self._problem
        if self._finish_reason is not None or (self._done_mark and self._tokens.kinds):
            return Outcome.OK, ""
        if outcome is Outcome.TRUNCATED or self._tokens.kinds:
            return Outcome.TRUNCATED, detail or "the stream ended without a finish_reason"
        if self._stray:
            return Outcome.NOT_OPENAI, "events that are no completion"
        return Outcome.EMPTY, "a 200 answer without a single token"

    def _finish_unstreamed(self, outcome: Outcome, detail: str) -> Reading:
        """Asked for a stream, got something else: a JSON answer, an error, a web page."""
        start = bytes(self._head)
        if start.lstrip().startswith(b"{") and self._bytes <= len(start):
            return self._finish_whole(start, outcome, detail)
        return self._reading(Outcome.NOT_OPENAI, f"not an event stream: {failure_text(start)}")

    def _finish_whole(self, body: bytes, outcome: Outcome, detail: str) -> Reading:
        if outcome not in (Outcome.OK, Outcome.TRUNCATED):
            return self._reading(outcome, detail)
        try:
            event = decode_event(body)
        except msgspec.DecodeError:
            if outcome is Outcome.TRUNCATED:
                return self._reading(outcome, detail)
            return self._reading(Outcome.NOT_OPENAI, f"not a completion: {failure_text(body)}" if body else "no body")
        if event is not None and event.problem is not None:
            return self._reading(Outcome.STREAM_ERROR, error_text(event.problem))
        if event is None or event.choices is None:
            return self._reading(Outcome.NOT_OPENAI, f"not a completion: {failure_text(body)}")
        self._usage = event.usage
        for choice in event.choices:
            if choice.finish_reason is not None:
                self._finish_reason = str(choice.finish_reason)
        self._events = 1
        self._first_event_ns = self._last_read_ns
        texts = any(choice.text or (choice.message and has_output(choice.message)) for choice in event.choices)
        if texts or (self._usage is not None and whole_number(self._usage.completion_tokens)):
            self._tokens = Tokens([self._last_read_ns], [TokenKind.TEXT], one_choice=len(event.choices) == 1)
            return self._reading(Outcome.OK, "")
        return self._reading(Outcome.EMPTY, "a 200 answer without a single token")

    def _reading(self, outcome: Outcome, detail: str) -> Reading:
        whole = outcome is Outcome.OK and self._finish_reason == "length" and self._tokens.one_choice
        stamps, counts, empty, total, source = count_tokens(self._tokens, self._usage, self._asked if whole else None)
        several = [count for count in counts if count > 1]
        bundled = len(several) if several else min(max(0, total - len(stamps)), len(stamps))
        return Reading(
            outcome=outcome,
            detail=detail[:300],
            finish_reason=self._finish_reason,
            first_event_ns=self._first_event_ns,
            token_ns=stamps,
            token_counts=counts if several else None,
            input_tokens=whole_number(self._usage.prompt_tokens) if self._usage is not None else None,
            output_tokens=total,
            token_source=source,
            events=self._events,
            empty_events=empty,
            multi_token_events=bundled if self._stream else 0,
            body_bytes=self._bytes,
            shared_stamps=self._shared,
        )


def _is_whole(data: bytes) -> bool:
    """Of the last event of a stream, which no blank line ended."""
    try:
        decode_event(data)
    except msgspec.DecodeError:
        return data.strip() == b"[DONE]"
    return True


def _is_event_stream(start: bytearray) -> bool:
    """Whether an answer that had no event was going to be a stream all the same: it pinged, or was cut early."""
    name, colon, _ = start.lstrip().partition(b":")
    return name in _FIELDS if colon else any(field.startswith(name) for field in _FIELDS)
