"""Events and answers as bytes: the templates of a style, filled in, so that a plain event costs one concatenation.

An event is `head + tail`: the head is made once per choice, and so are the tails, one for each word. All words have one
length, so the HTTP chunk size in the head is a constant. Pure: what is said when stands in answer.py.
"""

import json
import random
from collections.abc import Iterable
from functools import lru_cache

from loadgen.simulator.styles.style import Spelling, Style
from loadgen.simulator.text import WORD_BYTES, WORDS, answer_text

END = b"0\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n"
_WORDS = [word.encode() for word in WORDS]
_GAP = b"\0"  # where the text will be; no JSON holds it
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

Fields = dict[bytes, bytes | int]


def make_id(form: str, draw: random.Random) -> str:
    """An id as a style makes them, from a seeded generator."""
    if form.startswith("alnum"):
        return "".join(draw.choices(_ALPHABET, k=int(form.removeprefix("alnum"))))
    digits = f"{draw.getrandbits(128):032x}"
    if form == "uuid":
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return digits[: int(form.removeprefix("hex"))]


def text_of(first: int, count: int) -> bytes:
    """`count` words of the answer, from word `first` on."""
    return b"".join(_WORDS[k % len(_WORDS)] for k in range(first, first + count))


def event(payload: bytes) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % payload


def chunks(events: Iterable[bytes], *, glued: bool) -> bytes:
    """Events as HTTP chunks: one for each, or one for all. Nothing for none."""
    known = [b"".join(events)] if glued else events
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in known if one)


def usage_json(template: bytes, input_tokens: int, output_tokens: int) -> bytes:
    total = input_tokens + output_tokens
    return template % {b"input": input_tokens, b"output": output_tokens, b"total": total}


def usage_field(template: bytes, input_tokens: int, output_tokens: int) -> bytes:
    """`,"usage":{…}` as it stands among other fields."""
    return b',"usage":' + usage_json(template, input_tokens, output_tokens)


def timings_field(input_tokens: int, prompt_ns: int, output_tokens: int, predicted_ns: int) -> bytes:
    """llama.cpp's `,"timings":{…}`: how long the prompt took, and the tokens after the first."""
    prompt_ms, predicted_ms = max(prompt_ns, 1000) / 1e6, max(predicted_ns, 1000) / 1e6
    timings = {
        "cache_n": 0,
        "prompt_n": input_tokens,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / input_tokens,
        "prompt_per_second": 1e3 * input_tokens / prompt_ms,
        "predicted_n": output_tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / output_tokens,
        "predicted_per_second": 1e3 * output_tokens / predicted_ms,
    }
    return b',"timings":' + json.dumps(timings, separators=(",", ":")).encode()


@lru_cache(maxsize=8)
def _tails(tail: bytes) -> list[bytes]:
    return [word + tail for word in _WORDS]


class ChoiceEvents:
    """The events of one choice. `head + tails[k % len(tails)]` is the plain event of token k; the rest are methods."""

    __slots__ = ("_fields", "_spelling", "head", "tails")

    def __init__(self, spelling: Spelling, fields: Fields) -> None:
        """`fields`: id, created, model, index, as the templates want them."""
        self._spelling = spelling
        self._fields = {b"usage": b"", b"timings": b"", b"end": b"", **fields}
        before, _, after = (spelling.token % (self._fields | {b"text": _GAP})).partition(_GAP)
        self.head = b"%x\r\ndata: %b" % (len(b"data: \n\n") + len(before) + WORD_BYTES + len(after), before)
        self.tails = _tails(after + b"\n\n\r\n")

    def role(self, usage: bytes = b"") -> bytes:
        """The event before the first token; nothing where there is none."""
        role = self._spelling.role
        return b"" if role is None else event(role % (self._fields | {b"usage": usage}))

    def token(self, text: bytes, usage: bytes = b"", timings: bytes = b"") -> bytes:
        """A token, or several, with what each event carries where that is asked for."""
        filled = {b"text": text, b"usage": usage, b"timings": timings}
        return event(self._spelling.token % (self._fields | filled))

    def last(self, text: bytes, finish: bytes, usage: bytes, timings: bytes, *, ends: bool) -> bytes:
        """The event with the finish_reason; `ends` when no event with usage will follow it."""
        end = self._spelling.end.replace(b"%(timings)b", timings) if ends else b""
        filled = {b"text": text, b"finish": finish, b"usage": usage, b"timings": timings, b"end": end}
        return event(self._spelling.last % (self._fields | filled))

    def usage(self, usage: bytes, timings: bytes) -> bytes:
        """The event with the usage of the whole answer and no choice; nothing where there is none."""
        if self._spelling.usage is None:
            return b""
        end = self._spelling.end.replace(b"%(timings)b", timings)
        return event(self._spelling.usage % (self._fields | {b"usage": usage, b"end": end}))


def answer_json(
    style: Style, spelling: Spelling, fields: Fields, input_tokens: int, answers: list[tuple[int, str]], timings: bytes
) -> bytes:
    """A whole answer that is not streamed. `answers`: output tokens and finish_reason of each choice."""
    counted = answers[:1] if style.copies == "first" else answers
    output_tokens = sum(tokens - (finish == "stop" and not style.counts_stop) for tokens, finish in counted)
    choices = [
        spelling.choice
        % {b"index": k, b"text": answer_text(tokens - (finish == "stop")).encode(), b"finish": finish.encode()}
        for k, (tokens, finish) in enumerate(answers)
    ]
    filled = {
        b"choices": b",".join(choices),
        b"usage": usage_field(style.whole_usage or style.usage_object, input_tokens, output_tokens),
        b"timings": timings,
        b"end": spelling.end.replace(b"%(timings)b", timings),
    }
    return spelling.whole % (fields | filled)
