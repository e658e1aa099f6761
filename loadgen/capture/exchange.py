"""One exchange as the proxy saw it, and the row that is written of it. Times are CLOCK_MONOTONIC ns."""

from array import array
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from loadgen.capture.anonymise import Anonymiser
from loadgen.endpoints.answer import Answer, Reading
from loadgen.exchange import Outcome

OK = 200
ABORTED = 499  # the client went before its answer was complete; nginx's number for it


@dataclass(slots=True)
class Exchange:
    """What is held of a request while it runs. `answer` and `stamps_ns` are empty where it could not all be held."""

    arrival_ns: int
    body: bytes
    session: str | None
    status: int = 0
    end_ns: int = 0
    answer: list[bytes] = field(default_factory=list)
    stamps_ns: "array[int]" = field(default_factory=lambda: array("q"))
    answer_bytes: int = 0
    whole: bool = True

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.body) + self.answer_bytes

    def forget_answer(self) -> None:
        """It has become too long: the row will be without its lengths."""
        self.answer.clear()
        self.answer_bytes, self.whole = 0, False


def row_of(exchange: Exchange, zero_ns: int, anonymiser: Anonymiser, keep_text: bool) -> dict[str, Any] | None:
    """The row, or None for a body that is no request of ours. What the server did not tell is null."""
    try:
        request = msgspec.json.decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(request, dict) or not ("messages" in request or "prompt" in request):
        return None
    stream = request.get("stream") is True
    reading = _read(exchange, stream)
    row = {
        "arrival_ns": exchange.arrival_ns - zero_ns,
        "duration_ns": exchange.end_ns - exchange.arrival_ns,
        "ttft_ns": reading.token_ns[0] - exchange.arrival_ns if reading and stream and reading.token_ns else None,
        "input_tokens": _input_tokens(request, reading),
        "output_tokens": reading.output_tokens if reading else None,
        "max_tokens": request.get("max_tokens") or request.get("max_completion_tokens"),
        "status": exchange.status,
        "stream": stream,
        "model": str(request.get("model", ""))[:200],
        "session": anonymiser.session(request, exchange.session),
        "blocks": anonymiser.blocks(request),
    }
    if keep_text:
        row["request"] = request
    return row


def _read(exchange: Exchange, stream: bool) -> Reading | None:
    if not exchange.whole or exchange.status not in (OK, ABORTED):
        return None
    answer = Answer(stream)
    ends = np.cumsum([len(piece) for piece in exchange.answer], dtype=np.int64)
    answer.feed(b"".join(exchange.answer), ends, np.array(exchange.stamps_ns, np.int64))
    return answer.finish(exchange.status, Outcome.OK if exchange.status == OK else Outcome.TRUNCATED, "")


def _input_tokens(request: dict[str, Any], reading: Reading | None) -> int | None:
    if reading and reading.input_tokens is not None:
        return reading.input_tokens
    prompt = request.get("prompt")
    is_ids = isinstance(prompt, list) and all(isinstance(each, int) for each in prompt)
    return len(prompt) if is_ids else None  # type: ignore[arg-type]
