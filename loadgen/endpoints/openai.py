"""OpenAI's chat and completions: the JSON of a request, and the meaning of an event of its answer.

Nothing here knows time, sockets or files. What servers do differently stands in `dialects`.
"""

from typing import Any, Final

import msgspec

PATHS: Final = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
Prompt = str | list[int] | msgspec.Raw  # a text, token ids, or these as JSON already


def encode(endpoint: str, model: str, prompt: Prompt, fields: dict[str, Any]) -> bytes:
    """The body of a request. `fields` are the dialect's (max_tokens, stream, …) and the user's own, in that order."""
    asked: dict[str, Any] = {"model": model}
    if endpoint == "chat":
        asked["messages"] = [{"role": "user", "content": prompt}]
    else:
        asked["prompt"] = prompt
    return msgspec.json.encode(asked | fields)


class Delta(msgspec.Struct, gc=False):
    """What a chat event adds. Reasoning is output too: it was generated, paid for and streamed."""

    role: Any = None
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None


class Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: Any = None
    finish_reason: Any = None
    token_ids: Any = None


class Usage(msgspec.Struct, gc=False):
    """The server's counts; `whole_number` says which of them are some."""

    prompt_tokens: Any = None
    completion_tokens: Any = None


class Event(msgspec.Struct, gc=False):
    """One JSON object of an answer, streamed or whole; everything we do not use is skipped by the parser."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    object: Any = None
    message: Any = None

    @property
    def problem(self) -> Any:
        """The error in it, if any: OpenAI's way, or the older one of vLLM and DeepSpeed-MII."""
        return self.error if self.error is not None or self.object != "error" else self.message or "no reason given"


class TokenKind:
    """What an event carries, as far as it can be told before the end of the stream."""

    NONE = 0  # role, usage, comment
    TEXT = 1  # output for certain
    EMPTY = 2  # a choice without text: a token or not, as `tokens` finds
    EMPTY_LAST = 3  # the same on the event of the finish_reason


_ONE: msgspec.json.Decoder[Event | None] = msgspec.json.Decoder(Event | None)
_MANY: msgspec.json.Decoder[list[Event | None]] = msgspec.json.Decoder(list[Event | None])
# What a decoder raises besides its own DecodeError: for bytes that are no UTF-8, and for a thousand open brackets.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_events(data: list[bytes]) -> list[Event | None]:
    """All events in one call of the parser: half the cost of one by one. Raises msgspec.DecodeError."""
    if len(data) == 1:
        return [decode_event(data[0])]
    try:
        events = _MANY.decode(b"[" + b",".join(data) + b"]")
    except _UNREADABLE as error:
        raise msgspec.DecodeError(str(error)) from None
    if len(events) != len(data):
        raise msgspec.DecodeError("an event that is two, or half a one")
    return events


def decode_event(data: bytes) -> Event | None:
    """One event. Raises msgspec.DecodeError, and nothing else whatever the bytes."""
    try:
        return _ONE.decode(data)
    except _UNREADABLE as error:
        raise msgspec.DecodeError(str(error)) from None


def decode_json(data: bytes) -> Any:
    """Any JSON. Raises msgspec.DecodeError, and nothing else whatever the bytes."""
    try:
        return msgspec.json.decode(data)
    except _UNREADABLE as error:
        raise msgspec.DecodeError(str(error)) from None


def has_output(delta: Delta) -> bool:
    """Whether it holds anything that the model wrote."""
    return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls or delta.refusal)


def kind_of(choices: list[Choice]) -> int:
    """The strongest kind among the choices of an event (n > 1 sends several)."""
    first = choices[0].delta
    if first is not None and first.content:  # nearly all events
        return TokenKind.TEXT
    strongest = TokenKind.NONE
    for choice in choices:
        delta = choice.delta
        if delta is not None:
            if has_output(delta):
                return TokenKind.TEXT
            empty = delta.role is None or choice.finish_reason is not None
        elif choice.text:
            return TokenKind.TEXT
        else:
            empty = choice.text is not None or choice.finish_reason is not None
        if choice.token_ids:
            return TokenKind.TEXT
        if empty and strongest != TokenKind.EMPTY_LAST:
            strongest = TokenKind.EMPTY_LAST if choice.finish_reason is not None else TokenKind.EMPTY
    return strongest


def whole_number(value: Any) -> int | None:
    """A count as a server wrote it; None for what cannot be one (absent, negative, text, beyond 2^53)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def error_text(error: Any) -> str:
    """The sentence inside an error, object or string, OpenAI's shape or another's."""
    for _ in range(4):  # some wrap it; nobody this often
        if not isinstance(error, dict):
            break
        error = error.get("message") or error.get("error") or error.get("detail") or str(error)
    return str(error)


def failure_text(body: bytes) -> str:
    """What a server says in the body of a failed answer, in one line: JSON's message, or the first words."""
    try:
        answer = decode_json(body)
    except msgspec.DecodeError:
        text = body[:2000].decode("utf-8", "replace")
        if "<html" in text.lower() or "<!doctype" in text.lower():
            import re

            title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
            return f"an HTML page{': ' + ' '.join(title[1].split()) if title else ''}"
        return " ".join(text.split())[:300]
    if isinstance(answer, dict):
        for key in ("error", "detail", "message"):
            if answer.get(key):
                return " ".join(error_text(answer[key]).split())[:300]
    return " ".join(str(answer).split())[:300]
