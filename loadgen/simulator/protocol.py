"""What a request asks for, and how a wrong one is refused, by the rules of a style: bytes in, `Ask` or `Refusal` out.

Pure. Each server ignores some fields, checks others and refuses what it cannot take; which, stands in its `Style`.
Nothing here knows a socket or the time.
"""

import json
from typing import Any, NoReturn

import msgspec

from loadgen.simulator.styles.style import Kind, Style
from loadgen.simulator.text import CHAT_TEMPLATE_TOKENS, count_tokens, token_ids

_NEVER = -100.0  # a logit bias with which a token is never chosen
_TOLD_AS: dict[str, Kind] = {"form": "invalid", "method": "path"}  # kinds that few servers answer apart


class Refusal(Exception):  # noqa: N818 - an answer of the server, not a fault of the program
    """A status and a body, in the words of a style."""

    def __init__(self, style: Style, kind: Kind, sentence: str, param: str | None = None, **values: str | int) -> None:
        super().__init__(sentence)
        error = style.errors.get(kind) or style.errors[_TOLD_AS[kind]]
        filled: dict[bytes, bytes | int] = {b"message": _quoted(sentence), b"param": _quoted(param)}
        for name, value in values.items():
            filled[name.encode()] = value if isinstance(value, int) else _quoted(value)[1:-1]
        self.kind = kind
        self.status = error.status
        self.body = error.body % filled if b"%(" in error.body else error.body
        self.content_type = error.content_type


class StreamOptions(msgspec.Struct):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return " ".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class Body(msgspec.Struct):
    """The fields of both endpoints that change what the simulator does."""

    model: str | None = None
    prompt: str | list[int | str | list[int]] | None = None
    messages: list[Message] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    logit_bias: dict[str, float] | None = None
    generation_config: str | None = None
    timings_per_token: bool = False
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Ask(msgspec.Struct, frozen=True):
    """A checked request: one entry of `prompt_tokens` per answer, all of at most `output_tokens`.

    `min_tokens` of them come before any stop; `eos_shows` where a stop that was overruled is sent as an empty token.
    """

    chat: bool
    prompt_tokens: list[int]  # per choice
    input_tokens: int  # every prompt once, as usage counts them
    output_tokens: int
    min_tokens: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    timings_per_token: bool = False
    eos_shows: bool = False
    many_prompts: bool = False


_decoder = msgspec.json.Decoder(Body)


def read_body(raw: bytes, models: list[str], style: Style, chat: bool | None = None) -> Body:
    """Parse and check what every endpoint has in common. `chat` is None for what is neither. Raises Refusal."""
    try:
        body = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Refusal(style, "form", f"The request is not valid: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(style, "json", f"The request is not JSON: {error}.", "body") from error
    if style.known_fields is not None and chat is not None:
        strange = [name for name in msgspec.json.decode(raw) if name not in style.known_fields[chat]]
        if strange:
            fields = ", ".join(repr(name) for name in strange)
            sentence = f"Extra inputs are not permitted: {fields}."
            raise Refusal(style, "unknown", sentence, strange[0], fields=fields)
    if body.model is not None and body.model not in models and "model" in style.errors:
        sentence = f"The model `{body.model}` does not exist. Valid aliases: {', '.join(models)}."
        raise Refusal(style, "model", sentence, "model", asked=body.model, served=models[0])
    return body


def read_ask(body: Body, chat: bool, max_model_len: int, style: Style) -> Ask:
    """Turn a body into token counts. Raises Refusal, as for a prompt beyond the model's context."""
    prompts = [_chat_tokens(body, style)] if chat else _prompt_tokens(body, style)
    if not prompts or min(prompts) == 0:
        _refuse(style, "The prompt is empty.", "prompt")
    longest = max(prompts)
    if longest >= max_model_len:
        sentence = (
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
            f"{longest} input tokens. Please reduce the length of the input prompt."
        )
        raise Refusal(style, "context", sentence, "input_tokens", tokens=longest, context=max_model_len)
    output_tokens = _output_tokens(body, chat, longest, max_model_len, style)
    stream = bool(body.stream)
    copies = 1 if body.n is None or style.copies == "ignored" else body.n
    if not 1 <= copies <= 1024:
        _refuse(style, f"n must be between 1 and 1024, got {copies}.", "n")
    if style.strict and body.stream_options is not None and not stream:
        _refuse(style, "stream_options need stream to be true.", "stream_options")
    options = body.stream_options or StreamOptions()
    forced = _least_tokens(body, output_tokens, style)
    return Ask(
        chat=chat,
        prompt_tokens=[tokens for tokens in prompts for _ in range(copies)],
        input_tokens=sum(prompts),
        output_tokens=output_tokens,
        min_tokens=forced,
        stream=stream,
        include_usage=options.include_usage,
        continuous_usage=options.include_usage and options.continuous_usage_stats,
        timings_per_token=body.timings_per_token,
        eos_shows=style.eos_is_empty and body.ignore_eos and body.min_tokens < output_tokens,
        many_prompts=isinstance(body.prompt, list) and len(prompts) > 1,
    )


def read_token_ids(body: Body, vocabulary: int, style: Style) -> list[int]:
    """The answer of vLLM's /tokenize. Raises Refusal."""
    if body.messages is not None:
        text = " ".join(message.text() for message in body.messages)
        return [*range(CHAT_TEMPLATE_TOKENS), *token_ids(text, vocabulary)]
    if not isinstance(body.prompt, str):
        _refuse(style, "A prompt (text) or messages are needed.", "prompt")
    return token_ids(body.prompt, vocabulary)


def _output_tokens(body: Body, chat: bool, longest: int, max_model_len: int, style: Style) -> int:
    """How long an answer may become."""
    room = max_model_len - longest
    asked = body.max_tokens
    if style.max_completion and body.max_completion_tokens is not None:
        asked = body.max_completion_tokens
    if asked is None:
        return min(style.spelling(chat=chat).default_tokens or room, room)
    if asked < 1:
        _refuse(style, f"max_tokens must be at least 1, got {asked}.", "max_tokens")
    if asked <= room:
        return asked
    if "max_tokens" in style.errors:
        sentence = f"The maximum context length is {max_model_len} tokens, but {longest} of the prompt and "
        raise Refusal(style, "max_tokens", sentence + f"{asked} of max_tokens were asked for.", "max_tokens")
    return room


def _least_tokens(body: Body, output_tokens: int, style: Style) -> int:
    """How many tokens come before a stop may: all of them where a field that the server heeds forces it."""
    if "min_tokens" in style.forces and not 0 <= body.min_tokens <= output_tokens:
        if style.strict:
            sentence = f"min_tokens must be between 0 and max_tokens, got {body.min_tokens}."
            _refuse(style, sentence, "min_tokens")
        return output_tokens if body.min_tokens > 0 else 0
    forced = (
        ("ignore_eos" in style.forces and body.ignore_eos)
        or ("logit_bias" in style.forces and min((body.logit_bias or {"": 0.0}).values(), default=0.0) <= _NEVER)
        or ("generation_config" in style.forces and _never_ends(body.generation_config))
    )
    return output_tokens if forced else body.min_tokens if "min_tokens" in style.forces else 0


def _never_ends(generation_config: str | None) -> bool:
    """Whether a generation_config, which is JSON in a string, says that no token ends an answer."""
    try:
        config = json.loads(generation_config or "{}")
    except ValueError:
        return False
    return isinstance(config, dict) and config.get("eos_token_id") == -1


def _chat_tokens(body: Body, style: Style) -> int:
    if not body.messages:
        _refuse(style, "messages are needed.", "messages")
    return CHAT_TEMPLATE_TOKENS + sum(count_tokens(message.text()) for message in body.messages)


def _prompt_tokens(body: Body, style: Style) -> list[int]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [count_tokens(prompt)]
    if not prompt:
        return []
    if isinstance(prompt[0], int):
        if not style.prompt_ids:
            raise Refusal(style, "prompts", "A prompt of token ids is not supported.", "prompt")
        return [len(prompt)]
    if style.prompt_lists == "refused":
        raise Refusal(style, "prompts", "A list of prompts is not supported.", "prompt")
    if style.prompt_lists == "first":
        prompt = prompt[:1]
    return [count_tokens(one) if isinstance(one, str) else len(one) for one in prompt if not isinstance(one, int)]


def _refuse(style: Style, sentence: str, param: str) -> NoReturn:
    raise Refusal(style, "invalid", sentence, param)


def _quoted(text: str | None) -> bytes:
    return msgspec.json.encode(text)
