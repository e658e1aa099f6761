"""GoReplay's files: raw HTTP requests with their start in ns, and the original responses where they were recorded.

Only what a replay needs is taken out: path, prompt, model, status, usage. Headers with keys and addresses are read over
and never kept. Bodies may be chunked and compressed; what unpacks to too much is dropped.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.formats.access import NO_MODEL, asks_model
from loadgen.trace.gather import Gathered
from loadgen.trace.messages import prompt_text
from loadgen.trace.reading import Head, guarded, open_bytes, refuse
from loadgen.trace.table import UNKNOWN, Survey, Trace
from loadgen.trace.written import count

SEPARATOR = "\n🐵🙈🙉\n".encode()
_BODY_MAX = 64 << 20
_PIECE = 1 << 20
_META = re.compile(rb"([123]) ([0-9a-fA-F]{8,64}) (\d{1,19})(?: (-?\d{1,19}))?")
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r\n")


def matches(head: Head) -> bool:
    return _META.fullmatch(head.line) is not None


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Requests to a model are kept. Raises BadInputError with the number of the record."""
    survey.format = "GoReplay"
    gathered = Gathered(head, survey)
    places: dict[bytes, int] = {}
    for number, record in _records(head):
        survey.rows_read += 1
        first, _, payload = record.partition(b"\n")
        meta = _META.fullmatch(first.strip())
        if meta is None:
            refuse(head.path, number, "a record without GoReplay's first line (counted in records)")
        if meta[1] == b"1":
            if _request(gathered, number, int(meta[3]), payload):
                places[meta[2]] = len(gathered.at_ns) - 1
        elif meta[1] == b"3":
            gathered.drop("an answer of a replay")
        elif meta[2] in places:
            took = int(meta[4] or 0) or int(meta[3])
            _response(gathered, places[meta[2]], took, payload)
            gathered.drop("an answer, joined with its request")
        else:
            gathered.drop("an answer without its request")
    if not any(each >= 0 for each in gathered.input_tokens):
        survey.oddities.append("Lengths in tokens are not recorded; the texts are.")
    return assemble(gathered.draft(), survey, choices)


def _records(head: Head) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of each record; a file of any size."""
    number, rest = 1, b""
    with open_bytes(head.path) as file:
        while piece := guarded(head.path, lambda: file.read(_PIECE)):
            *whole, rest = (rest + piece).split(SEPARATOR)
            for record in whole:
                yield number, record
                number += 1
            if len(rest) > 2 * _BODY_MAX:
                refuse(head.path, number, "a record of more than 128 MiB (counted in records)")
    if rest.strip():
        yield number, rest


def _request(gathered: Gathered, number: int, at_ns: int, payload: bytes) -> bool:
    begin = _REQUEST.match(payload)
    if begin is None:
        gathered.drop("no HTTP request")
        return False
    if not asks_model(begin[1].decode(), begin[2].decode(errors="replace")):
        gathered.drop(NO_MODEL)
        return False
    body = _json(payload)
    if body is None:
        gathered.drop("a body that is no JSON")
        return False
    prompt = body.get("prompt")
    ids = isinstance(prompt, list) and prompt and all(isinstance(each, int) for each in prompt)
    gathered.add(
        number,
        at_ns,
        input_tokens=len(prompt) if ids else UNKNOWN,  # type: ignore[arg-type]
        model=body.get("model"),
        session=body.get("session_id", body.get("conversation")),
        text=prompt_text(body),
    )
    return True


def _response(gathered: Gathered, place: int, took_ns: int, payload: bytes) -> None:
    """Status, duration and usage of an answer, streamed or not."""
    status = _STATUS.match(payload)
    gathered.status[place] = int(status[1]) if status else 0
    gathered.duration_ns[place] = took_ns if took_ns < 2**62 else UNKNOWN
    found = _USAGE.findall(_body(payload) or b"")
    try:
        usage = msgspec.json.decode(found[-1]) if found else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        usage = {}
    head, line = gathered.head, gathered.row[place]
    prompt = count(head, line, usage.get("prompt_tokens", usage.get("input_tokens")), "prompt_tokens")
    gathered.input_tokens[place] = prompt if prompt >= 0 else gathered.input_tokens[place]
    answer = usage.get("completion_tokens", usage.get("output_tokens"))
    gathered.output_tokens[place] = count(head, line, answer, "completion_tokens")


def _json(payload: bytes) -> dict[str, Any] | None:
    body = _body(payload)
    try:
        found = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _body(payload: bytes) -> bytes | None:
    """The body, without chunks and compression; None where it cannot be had."""
    lines, blank, body = payload.partition(b"\r\n\r\n")
    if not blank:
        return None
    headers = lines.lower()
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
