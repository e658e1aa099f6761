"""What a request asks for, and how a wrong one is refused, as vLLM does it: pure, bytes in, `Ask` or `Refusal` out.

Unknown fields are ignored, known ones are checked. Nothing here knows a socket or the time.
"""

from typing import Any

import msgspec

from loadgen.simulator.text import CHAT_TEMPLATE_TOKENS, count_tokens, token_ids

COMPLETION_DEFAULT_TOKENS = 16  # OpenAI's default of /v1/completions


class Refusal(Exception):  # noqa: N818 - an answer of the server, not a fault of the program
    """An HTTP status and OpenAI's error object."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": kind, "param": param, "code": status}
        self.body = msgspec.json.encode({"error": error})


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
    n: int = 1
    stream: bool = False
    stream_options: StreamOptions | None = None


class Ask(msgspec.Struct, frozen=True):
    """A checked request: one entry of `prompt_tokens` per answer, all of at most `output_tokens`."""

    chat: bool
    prompt_tokens: list[int]  # per choice
    input_tokens: int  # every prompt once, as usage counts them
    output_tokens: int
    min_tokens: int
    stream: bool
    include_usage: bool
    continuous_usage: bool


_decoder = msgspec.json.Decoder(Body)


def read_body(raw: bytes, models: list[str]) -> Body:
    """Parse and check what every endpoint has in common. Raises Refusal 400 or 404."""
    try:
        body = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"The request is not valid: {error}.", "Bad Request") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"The request is not JSON: {error}.", "Bad Request", "body") from error
    if body.model is not None and body.model not in models:
        sentence = f"The model `{body.model}` does not exist. This server has: {', '.join(models)}."
        raise Refusal(404, sentence, "NotFoundError", "model")
    return body


def read_ask(body: Body, chat: bool, max_model_len: int) -> Ask:
    """Turn a body into token counts. Raises Refusal 400, as for a prompt beyond the model's context."""
    prompts = [_chat_tokens(body)] if chat else _prompt_tokens(body)
    if not prompts or min(prompts) == 0:
        raise Refusal(400, "The prompt is empty.", param="prompt")
    longest = max(prompts)
    if longest >= max_model_len:
        sentence = f"The maximum context length is {max_model_len} tokens, and the prompt alone has {longest}."
        raise Refusal(400, sentence, param="input_tokens")
    default = max_model_len - longest if chat else min(COMPLETION_DEFAULT_TOKENS, max_model_len - longest)
    asked = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    output_tokens = default if asked is None else asked
    if output_tokens < 1:
        raise Refusal(400, f"max_tokens must be at least 1, got {output_tokens}.", param="max_tokens")
    if longest + output_tokens > max_model_len:
        sentence = f"The maximum context length is {max_model_len} tokens, but {longest} of the prompt and "
        raise Refusal(400, sentence + f"{output_tokens} of max_tokens were asked for.", param="max_tokens")
    if not 0 <= body.min_tokens <= output_tokens:
        raise Refusal(400, f"min_tokens must be between 0 and max_tokens, got {body.min_tokens}.", param="min_tokens")
    if not 1 <= body.n <= 1024:
        raise Refusal(400, f"n must be between 1 and 1024, got {body.n}.", param="n")
    if body.stream_options is not None and not body.stream:
        raise Refusal(400, "stream_options need stream to be true.", param="stream_options")
    options = body.stream_options or StreamOptions()
    return Ask(
        chat=chat,
        prompt_tokens=[tokens for tokens in prompts for _ in range(body.n)],
        input_tokens=sum(prompts),
        output_tokens=output_tokens,
        min_tokens=output_tokens if body.ignore_eos else body.min_tokens,
        stream=body.stream,
        include_usage=options.include_usage,
        continuous_usage=options.include_usage and options.continuous_usage_stats,
    )


def read_token_ids(body: Body, vocabulary: int) -> list[int]:
    """The answer of /tokenize. Raises Refusal 400."""
    if body.messages is not None:
        text = " ".join(message.text() for message in body.messages)
        return [*range(CHAT_TEMPLATE_TOKENS), *token_ids(text, vocabulary)]
    if isinstance(body.prompt, str):
        return token_ids(body.prompt, vocabulary)
    raise Refusal(400, "A prompt (text) or messages are needed.", param="prompt")


def _chat_tokens(body: Body) -> int:
    if not body.messages:
        raise Refusal(400, "messages are needed.", param="messages")
    return CHAT_TEMPLATE_TOKENS + sum(count_tokens(message.text()) for message in body.messages)


def _prompt_tokens(body: Body) -> list[int]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [count_tokens(prompt)]
    if not prompt:
        return []
    if isinstance(prompt[0], int):
        return [len(prompt)]
    return [count_tokens(one) if isinstance(one, str) else len(one) for one in prompt if not isinstance(one, int)]
