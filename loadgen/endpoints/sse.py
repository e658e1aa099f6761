"""Server-sent events: bytes in, (data, end offset) out. Sans-IO; takes any cut of the bytes, and every newline style.

The offset of an event is where its last data line ends, newline included, in the stream since its start. Comment lines
(`: ping`) and fields other than `data` are skipped, as the standard says; an event without data is none.
"""

from itertools import accumulate

_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\r")
_FAST_SEPARATOR = b"\n\ndata: "


class SseReader:
    """Feed it bytes; it keeps what is not yet a whole event."""

    __slots__ = ("_consumed", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._consumed = 0  # bytes of the stream before `_tail`

    @property
    def consumed(self) -> int:
        """Bytes of the stream whose events have been handed out."""
        return self._consumed

    def feed(self, data: bytes) -> tuple[list[bytes], list[int]]:
        """The events that `data` completes: their data, and the stream offset at which each ended."""
        text = self._tail + data if self._tail else data
        cut = _whole_events_end(text)
        whole, self._tail = text[:cut], text[cut:]
        base = self._consumed
        self._consumed += cut
        if not whole:
            return [], []
        if b"\r" not in whole and whole.startswith(b"data: "):
            fast = _split_fast(whole, base)
            if fast is not None:
                return fast
        return _split_lines(whole, base)

    def finish(self) -> tuple[list[bytes], list[int]]:
        """The stream is over: an event without its blank line counts when its data line is whole."""
        whole, self._tail = self._tail, b""
        base, self._consumed = self._consumed, self._consumed + len(whole)
        return _split_lines(whole, base)


def _whole_events_end(text: bytes) -> int:
    """Where the last blank line of `text` ends; 0 when there is none."""
    marks = _BLANK_LINES if b"\r" in text else _BLANK_LINES[:1]
    return max((at + len(mark) for mark in marks if (at := text.rfind(mark)) >= 0), default=0)


def _split_fast(whole: bytes, base: int) -> tuple[list[bytes], list[int]] | None:
    """What every server of today writes: `data: …` and an empty line, over and over. None when it is not that."""
    pieces = whole[6:-2].split(_FAST_SEPARATOR)
    if b"\n" in b"".join(pieces):
        return None  # comments, several data lines, other fields
    ends = list(accumulate([len(piece) + 8 for piece in pieces], initial=base - 1))
    return pieces, ends[1:]


def _split_lines(whole: bytes, base: int) -> tuple[list[bytes], list[int]]:
    """The standard, line by line."""
    events: list[bytes] = []
    ends: list[int] = []
    lines: list[bytes] = []
    data_end = at = 0
    for line in whole.splitlines(keepends=True):
        at += len(line)
        content = line.rstrip(b"\r\n")
        if content.startswith(b"data:"):
            lines.append(content[5:].removeprefix(b" "))
            data_end = at
        elif not content.strip(b" ") and lines:
            events.append(b"\n".join(lines))
            ends.append(base + data_end)
            lines = []
    if lines:
        events.append(b"\n".join(lines))
        ends.append(base + data_end)
    return events, ends
