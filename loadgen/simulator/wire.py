"""vLLM's bytes: every event and every answer, spelled by hand so that an event costs one concatenation.

An event is `head + tail`: the head is made once per choice, the tails once per process. All words have one length, so
the HTTP chunk size in the head is a constant. Pure; the two spellings (chat, completions) are one literal each.
"""

import json
from dataclasses import dataclass

from loadgen import __version__
from loadgen.simulator.text import WORD_BYTES, WORDS, answer_text

FINGERPRINT = f"loadgen-simulator-{__version__}"
_FINGERPRINT = f',"system_fingerprint":"{FINGERPRINT}"'.encode()
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one endpoint spells a choice: `opening` word `middle`, or `opening` word `ending` for the last token."""

    id_prefix: str
    stream_object: str
    object: str
    opening: bytes
    middle: bytes
    ending: bytes
    role: bytes | None  # the rest of the choice that announces the role, before the first token


CHAT = Spelling(
    id_prefix="chatcmpl-",
    stream_object="chat.completion.chunk",
    object="chat.completion",
    opening=b'"delta":{"content":"',
    middle=b'"},"logprobs":null,"finish_reason":null,"token_ids":null}]',
    ending=b'"},"logprobs":null,"finish_reason":"%b","stop_reason":null,"token_ids":null}]',
    role=b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]',
)
COMPLETION = Spelling(
    id_prefix="cmpl-",
    stream_object="text_completion",
    object="text_completion",
    opening=b'"text":"',
    middle=b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]',
    ending=b'","logprobs":null,"finish_reason":"%b","stop_reason":null,"prompt_token_ids":null,"token_ids":null}]',
    role=None,
)
_ROLE_END = b',"prompt_token_ids":null,"prompt_text":null}'
_WORDS = [word.encode() for word in WORDS]


def chunk_event(payload: bytes) -> bytes:
    """One server-sent event as one HTTP chunk."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(payload) + 8, payload)


def usage_json(input_tokens: int, output_tokens: int) -> bytes:
    total = input_tokens + output_tokens
    return b'{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d' % (input_tokens, total, output_tokens)


def _tails(spelling: Spelling) -> list[bytes]:
    return [word + spelling.middle + b"}\n\n\r\n" for word in _WORDS]


TAILS = {CHAT.id_prefix: _tails(CHAT), COMPLETION.id_prefix: _tails(COMPLETION)}


class ChoiceEvents:
    """The events of one choice. `head + tails[k % len(tails)]` is the plain event of token k; the rest are methods."""

    __slots__ = ("_opened", "_spelling", "head", "tails")

    def __init__(self, spelling: Spelling, request_id: str, created: int, model: str, index: int) -> None:
        self._spelling = spelling
        envelope = f'{{"id":{json.dumps(request_id)},"object":"{spelling.stream_object}","created":{created}'
        self._opened = f'{envelope},"model":{json.dumps(model)},"choices":['.encode() + b'{"index":%d,' % index
        self.tails = TAILS[spelling.id_prefix]
        self.head = b"%x\r\ndata: %b%b" % (
            len(b"data: \n\n}") + len(self._opened) + len(spelling.opening) + WORD_BYTES + len(spelling.middle),
            self._opened,
            spelling.opening,
        )

    def role(self, usage: bytes | None) -> bytes:
        """The event before the first token; nothing for completions."""
        if self._spelling.role is None:
            return b""
        return chunk_event(self._opened + self._spelling.role + _continuous(usage) + _ROLE_END)

    def token(self, k: int, usage: bytes | None) -> bytes:
        """Token k with the usage so far, when every event carries it."""
        word = _WORDS[k % len(_WORDS)]
        return chunk_event(
            self._opened + self._spelling.opening + word + self._spelling.middle + _continuous(usage) + b"}"
        )

    def last(self, k: int, finish_reason: bytes, usage: bytes | None, fingerprint: bool) -> bytes:
        """The last token, with its finish_reason; a stop is a token without text, as the end of sequence is."""
        word = b"" if finish_reason == b"stop" else _WORDS[k % len(_WORDS)]
        ending = self._spelling.ending % finish_reason + (_FINGERPRINT if fingerprint else b"")
        return chunk_event(self._opened + self._spelling.opening + word + ending + _continuous(usage) + b"}")

    def usage(self, usage: bytes) -> bytes:
        """The event that carries the usage of the whole answer and no choice."""
        envelope = self._opened[: self._opened.rindex(b'{"index":')]
        return chunk_event(envelope + b'],"usage":' + usage + b"}" + _FINGERPRINT + b"}")


def _continuous(usage: bytes | None) -> bytes:
    return b"" if usage is None else b',"usage":%b,"completion_tokens_details":null}' % usage


def answer_json(
    spelling: Spelling, request_id: str, created: int, model: str, input_tokens: int, answers: list[tuple[int, str]]
) -> bytes:
    """A whole answer that is not streamed. `answers`: output tokens and finish_reason of each choice."""
    output_tokens = sum(tokens for tokens, _ in answers)
    choices = []
    for index, (tokens, finish_reason) in enumerate(answers):
        text = answer_text(tokens - (finish_reason == "stop"))
        said = {"message": {"role": "assistant", "content": text}} if spelling is CHAT else {"text": text}
        end = {"logprobs": None, "finish_reason": finish_reason, "stop_reason": None, "token_ids": None}
        choices.append({"index": index} | said | end)
    usage = json.loads(usage_json(input_tokens, output_tokens) + b"}")
    answer = {"id": request_id, "object": spelling.object, "created": created, "model": model, "choices": choices}
    return json.dumps(answer | {"usage": usage, "system_fingerprint": FINGERPRINT}, separators=(",", ":")).encode()
