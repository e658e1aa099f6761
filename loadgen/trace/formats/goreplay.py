"""GoReplay's files: raw HTTP requests with their start in ns, and the original responses where they were recorded.

Only what a replay needs is taken out: path, prompt, model, status, usage. Headers with keys and addresses are read over
and never kept. Bodies may be chunked and compressed; what unpacks to too much is dropped.
"""

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.formats.access import NO_MODEL, asks_model
from loadgen.trace.gather import together
from loadgen.trace.jsonrows import told
from loadgen.trace.messages import text_of
from loadgen.trace.reading import Head, guarded, open_bytes, refuse
from loadgen.trace.table import UNKNOWN, Int64s, Survey, Trace, column
from loadgen.trace.written import NS_MAX, count, names, texts

SEPARATOR = "\n🐵🙈🙉\n".encode()
_BODY_MAX = 64 << 20
_PIECE = 1 << 18
_META = re.compile(  # GoReplay's own line, and the request's
    rb"[^\S\n]*([123]) ([0-9a-fA-F]{8,64}) (\d{1,19})(?: (-?\d{1,19}))?[^\S\n]*(?:\n|$)(?:([A-Z]+) (\S+) HTTP/1\.[01])?"
)
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r\n")


class Body(msgspec.Struct, gc=False):
    """What a request asks, as far as it is read."""

    model: Any = None
    system: Any = None
    messages: Any = None
    prompt: Any = None
    input: Any = None
    session_id: Any = None
    conversation: Any = None


_BODY = msgspec.json.Decoder(Body)


def matches(head: Head) -> bool:
    return _META.fullmatch(head.line) is not None


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Requests to a model are kept. Raises BadInputError with the number of the record."""
    survey.format = "GoReplay"
    pieces: list[Draft] = []
    ids, answered = [pa.array([], pa.binary())], [pa.array([], pa.binary())]  # of requests that are kept, of answers
    answers = [np.zeros((0, 4), np.int64)]
    for numbers, records in _records(head):
        asked: list[tuple[int, bytes, int, Body]] = []
        told_later: list[tuple[bytes, int, int, int, int]] = []
        for number, record in zip(numbers, records, strict=True):
            meta = _META.match(record)
            if meta is None:
                refuse(head.path, number, "a record without GoReplay's first line (counted in records)")
            kind, name, time, took, method, path = meta.groups()
            if kind == b"1":
                body = _asked(record, meta.end(), method, path)
                if isinstance(body, Body):
                    asked.append((number, name, int(time), body))
                else:
                    survey.drop(body)
            elif kind == b"3":
                survey.drop("an answer of a replay")
            else:
                took_ns = int(took or 0) or int(time)
                known = took_ns if 0 <= took_ns < NS_MAX else UNKNOWN
                told_later.append((name, known, *_answered(head, number, record[meta.end() :])))
        survey.rows_read += len(records)
        pieces.append(_draft(asked))
        ids.append(pa.array([name for _, name, _, _ in asked], pa.binary()))
        answered.append(pa.array([name for name, *_ in told_later], pa.binary()))
        answers.append(np.array([numbers for _, *numbers in told_later], np.int64).reshape(-1, 4))
    draft = together(pieces)
    place = pc.index_in(pa.chunked_array(answered), pa.chunked_array(ids)).fill_null(UNKNOWN).to_numpy()
    _join(draft, place[place >= 0], np.concatenate(answers)[place >= 0])
    survey.drop("an answer, joined with its request", np.count_nonzero(place >= 0))
    survey.drop("an answer without its request", np.count_nonzero(place < 0))
    if not (draft.input_tokens >= 0).any():
        survey.oddities.append("Lengths in tokens are not recorded; the texts are.")
    return assemble(draft, survey, choices)


def _records(head: Head) -> Iterator[tuple[range, list[bytes]]]:
    """(numbers, bytes) of the records, some megabytes at a time."""
    number, rest = 1, b""
    with open_bytes(head.path) as file:
        while piece := guarded(head.path, lambda: file.read(_PIECE)):
            *whole, rest = (rest + piece).split(SEPARATOR)
            yield range(number, number + len(whole)), whole
            number += len(whole)
            if len(rest) > 2 * _BODY_MAX:
                refuse(head.path, number, "a record of more than 128 MiB (counted in records)")
    if rest.strip():
        yield range(number, number + 1), [rest]


def _asked(record: bytes, start: int, method: bytes | None, path: bytes) -> Body | str:
    """What a request asks, or why it is none to replay."""
    if method is None:
        return "no HTTP request"
    if not _asks(method, path):
        return NO_MODEL
    try:
        return _BODY.decode(_body(record, start) or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "a body that is no JSON"


@lru_cache(maxsize=4096)
def _asks(method: bytes, path: bytes) -> bool:
    return asks_model(method.decode(), path.decode(errors="replace"))


def _draft(asked: list[tuple[int, bytes, int, Body]]) -> Draft:
    numbers, _, times, bodies = list(zip(*asked, strict=True)) or [(), (), (), ()]
    contents = told(bodies, ("messages", "prompt", "input"))
    return Draft(
        at_ns=np.minimum(np.array(times, np.uint64), NS_MAX).astype(np.int64),  # at most 19 digits
        row=np.array(numbers, np.int64),
        input_tokens=np.array([_ids(body.prompt) if body.prompt else UNKNOWN for body in bodies], np.int64),
        output_tokens=column(len(asked)),
        duration_ns=column(len(asked)),
        status=column(len(asked), 200),
        session=names(told(bodies, ("session_id", "conversation"))),
        model=names([body.model for body in bodies]),
        texts=texts([text_of(body.system, content) for body, content in zip(bodies, contents, strict=True)]),
    )


def _ids(prompt: Any) -> int:
    """The length of a prompt of token ids."""
    return len(prompt) if isinstance(prompt, list) and all(isinstance(each, int) for each in prompt) else UNKNOWN


def _answered(head: Head, number: int, payload: bytes) -> tuple[int, int, int]:
    """(status, prompt's length, answer's length) of an answer, streamed or not."""
    status = _STATUS.match(payload)
    found = _USAGE.findall(_body(payload) or b"")
    try:
        usage = msgspec.json.decode(found[-1]) if found else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        usage = {}
    return (
        int(status[1]) if status else 0,
        count(head, number, usage.get("prompt_tokens", usage.get("input_tokens")), "prompt_tokens"),
        count(head, number, usage.get("completion_tokens", usage.get("output_tokens")), "completion_tokens"),
    )


def _join(draft: Draft, place: Int64s, answers: Int64s) -> None:
    """What the answers say goes to their requests; what one does not know of a prompt stays as it was."""
    took_ns, status, prompt, answer = answers.T
    assert draft.duration_ns is not None
    assert draft.status is not None
    draft.duration_ns[place] = took_ns
    draft.status[place], draft.output_tokens[place] = status, answer
    draft.input_tokens[place[prompt >= 0]] = prompt[prompt >= 0]


def _body(record: bytes, start: int = 0) -> bytes | None:
    """The body, without chunks and compression; None where it cannot be had."""
    end = record.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    headers, body = record[start:end].lower(), record[end + 4 :]
    if b"transfer-encoding: chunked" in headers:
        body = _joined(body)
    if b"content-encoding:" not in headers:
        return body
    if b"content-encoding: gzip" not in headers and b"content-encoding: deflate" not in headers:
        return None
    try:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = unpacker.decompress(body, _BODY_MAX)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail else plain


def _joined(body: bytes) -> bytes:
    """Chunks put together; as far as they go where they are cut, and as it is where they have been joined already."""
    parts, place = [], 0
    while match := _CHUNK.match(body, place):
        size = int(match[1], 16)
        if size == 0:
            break
        parts.append(body[match.end() : match.end() + size])
        place = match.end() + size + 2
    return b"".join(parts) if parts else body
