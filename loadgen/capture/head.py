"""The head of an HTTP message as bytes: what a proxy leaves out of it, and what tells where the body ends.

Pure. Names and values stay as they came, in their order, repeated ones too; nothing is decoded but what is looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import msgspec

Headers = list[tuple[bytes, bytes]]
HEAD_BYTES_MAX = 1 << 16  # of a head that is not complete yet
# What belongs to one connection (RFC 9110, 7.6.1). Upgrades are not passed on, so a server answers as if none was asked
# for, as it may (7.8); 100 Continue is settled by each side for itself.
_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"))
_OF_REQUESTS = _HOP | {b"host", b"expect"}
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
}
_TELLS_LENGTH = frozenset((b"content-length", b"transfer-encoding"))


class Framing(Enum):
    """How the end of a body is told."""

    NONE = 0  # there is no body
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3  # by the end of the connection


@dataclass(slots=True)
class Request:
    """One request as it comes in. `pieces` hold its body until it is sent, and longer while it may be sent again."""

    headers: Headers = field(default_factory=list)
    target: bytes = b""
    method: bytes = b""  # empty until the head is complete
    arrival_ns: int = 0  # when it was
    http11: bool = True
    keeps: bool = True  # the client will ask on
    framing: Framing = Framing.NONE
    expects: bool = False  # the client waits for 100 Continue
    gathered: bool = False  # it is sent when all of it is there
    complete: bool = False
    sent: bool = False
    retried: bool = False
    answered: bool = False  # all of the answer has gone to the client
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def begin(self, method: bytes, version: str, keeps: bool, now_ns: int) -> int:
        """The head is complete. Returns the body's length as the client says, 0 where it does not."""
        self.method, self.http11, self.keeps, self.arrival_ns = method, version != "1.0", keeps, now_ns
        if self.target[:1] not in (b"/", b"*"):  # as to a forward proxy: http://host/path
            rest = self.target.partition(b"://")[2]
            self.target = b"/" + rest.partition(b"/")[2]
        self.expects = self.http11 and value(self.headers, b"expect").lower() == b"100-continue"
        length = int(value(self.headers, b"content-length") or b"0")
        if is_chunked(self.headers):
            self.framing = Framing.CHUNKED
        elif length:
            self.framing = Framing.LENGTH
        return length

    def head(self, authority: bytes, prefix: bytes) -> bytes:
        """As the upstream gets it."""
        target = prefix + self.target if self.target != b"*" else self.target
        return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            self.method,
            target,
            authority,
            passed(self.headers, _OF_REQUESTS),
        )


@dataclass(slots=True)
class AnswerHead:
    """The head of an answer; `framing` is the upstream's."""

    status: int
    reason: bytes
    headers: Headers
    framing: Framing

    def head(self, to: Request, keeps: bool) -> tuple[bytes, Framing]:
        """As the client gets it, and how the end of the body is told there. A body without a length goes in chunks to
        whoever knows them: a broken one can then be told from a whole one."""
        framing, left, more = self.framing, _HOP, b""
        if framing in (Framing.CHUNKED, Framing.CLOSE):
            framing = Framing.CHUNKED if to.http11 else Framing.CLOSE
            if not to.http11:
                left = _HOP | {b"transfer-encoding"}
            elif not is_chunked(self.headers):
                more = b"Transfer-Encoding: chunked\r\n"
        if not keeps or framing is Framing.CLOSE:
            more += b"Connection: close\r\n"
        elif not to.http11:
            more += b"Connection: keep-alive\r\n"
        lines = passed(self.headers, left)
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (self.status, self.reason, lines, more), framing


def passed(headers: Headers, left_out: frozenset[bytes]) -> bytes:
    """The lines that go on: without `left_out`, and without what a Connection header names as its own."""
    named = values(headers, b"connection")
    if named:
        left_out = left_out | {each.strip().lower() for each in named.split(b",")} - _TELLS_LENGTH
    return b"".join([b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() not in left_out])


def values(headers: Headers, name: bytes) -> bytes:
    """All of a header, joined as one list; empty where there is none. `name` in small letters."""
    return b",".join([each for key, each in headers if key.lower() == name])


def value(headers: Headers, name: bytes) -> bytes:
    """The first one's value, or empty."""
    return next((each.strip() for key, each in headers if key.lower() == name), b"")


def is_chunked(headers: Headers) -> bool:
    return values(headers, b"transfer-encoding").rpartition(b",")[2].strip().lower() == b"chunked"


def framed(pieces: Iterable[bytes], framing: Framing, ended: bool) -> bytes:
    """Pieces of a body as they stand on the wire, in one chunk, with the end if this is it."""
    body = b"".join(pieces)
    if framing is not Framing.CHUNKED:
        return body
    return b"%b%b" % (b"%x\r\n%b\r\n" % (len(body), body) if body else b"", b"0\r\n\r\n" if ended else b"")


def own_answer(status: int, message: str, request: Request | None) -> bytes:
    """An answer of the proxy's; without a request it is the last."""
    body = msgspec.json.encode({"error": {"message": f"loadgen capture: {message}"}})
    close = b"" if request is not None and request.keeps else b"Connection: close\r\n"
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n%b\r\n" % (
        status,
        _REASONS[status],
        len(body),
        close,
    )
    return head if request is not None and request.method == b"HEAD" else head + body
