"""What is held of the exchanges that pass: references to their pieces and a stamp each. It never slows the passing.

When the loop falls behind, or too much is held, no new request is recorded; each is counted as missed, with the reason.
"""

import asyncio
import time

from loadgen.capture.exchange import Exchange
from loadgen.capture.head import Request, value
from loadgen.capture.writer import HELD_BYTES_MAX, Writer

BODY_BYTES_MAX = 16 << 20  # a larger request passes in pieces and is not recorded
ANSWER_BYTES_MAX = 16 << 20  # of one answer held; a longer one is recorded without its lengths
BEAT_S, LATE_S, LATE_BEATS, PAUSE_S = 0.05, 0.02, 5, 1.0  # the loop late at so many beats on end: overload, one pause
_RECORDED = (b"/chat/completions", b"/completions")
_SESSION_HEADERS = ("X-Session-Id", "X-Conversation-Id", "Session-Id")


def is_recorded(request: Request) -> bool:
    """Is it one whose prompt a trace can hold?"""
    return request.method == b"POST" and request.path.endswith(_RECORDED)


class Recording:
    """`begin` → `hold` for each read → `end`. Used by the loop's thread alone."""

    def __init__(self, writer: Writer, session_header: str | None) -> None:
        named = (session_header,) if session_header else _SESSION_HEADERS
        self._session_headers = [name.lower().encode("latin-1", "replace") for name in named]
        self._writer = writer
        self._paused_until = 0.0

    async def watch(self) -> None:
        """Until cancelled: notice when the loop is late."""
        late = 0
        while True:
            asked = time.monotonic()
            await asyncio.sleep(BEAT_S)
            late = late + 1 if time.monotonic() - asked - BEAT_S > LATE_S else 0
            if late >= LATE_BEATS:  # once is a hiccup of the machine, and no recording would have helped
                self.fall_behind()

    def fall_behind(self) -> None:
        """Record no new request for a while."""
        self._paused_until = time.monotonic() + PAUSE_S

    def begin(self, request: Request) -> Exchange | None:
        """What to record this request in; None when it is none of ours, or cannot be recorded now."""
        if not is_recorded(request):
            return None
        if not request.gathered:
            self._writer.miss("a body too large")
        elif time.monotonic() < self._paused_until:
            self._writer.miss("this machine was overloaded")
        elif self._writer.held_bytes > HELD_BYTES_MAX:
            self._writer.miss("too much was held")
        else:
            body = b"".join(request.pieces)
            self._writer.held_bytes += len(body)
            found = (value(request.headers, name) for name in self._session_headers)
            session = next(filter(None, found), b"").decode("latin-1")
            return Exchange(request.arrival_ns, body, session or None)
        return None

    def hold(self, exchange: Exchange, pieces: list[bytes], came_ns: int) -> None:
        """The pieces of one read of the answer, which came together."""
        if not exchange.whole or not pieces:
            return
        read = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        exchange.answer.append(read)
        exchange.stamps_ns.append(came_ns)
        exchange.answer_bytes += len(read)
        self._writer.held_bytes += len(read)
        if exchange.answer_bytes > ANSWER_BYTES_MAX or self._writer.held_bytes > HELD_BYTES_MAX:
            self._writer.held_bytes -= exchange.answer_bytes
            exchange.forget_answer()

    def end(self, exchange: Exchange, status: int) -> None:
        """`status` is the server's, or of those that say who broke off."""
        exchange.status, exchange.end_ns = status, time.monotonic_ns()
        self._writer.offer(exchange)
