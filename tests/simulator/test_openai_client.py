"""The official client of OpenAI is content with every style: streaming and not, chat and completions, usage, errors."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from loadgen.simulator.styles import STYLES

WithRim = Callable[..., None]
Rim = Any  # tests/simulator/conftest.py
MESSAGES: Any = [{"role": "user", "content": "import os"}]
USAGE_IN_STREAM = {"vllm", "llama.cpp", "transformers", "tensorrt-llm"}
WRONG_MODEL = {"vllm": openai.NotFoundError, "transformers": openai.BadRequestError, "mii": openai.BadRequestError}
NO_MODELS = {"transformers"}  # it lists the hub's cache and fails without one


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client_of(rim: Rim) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=rim.url + "/v1", api_key="none", max_retries=0)


def test_chat(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        async with client_of(rim) as client:
            said, usage, roles, ends = "", None, [], []
            async for chunk in await client.chat.completions.create(
                model="m", messages=MESSAGES, max_tokens=3, stream=True, stream_options={"include_usage": True}
            ):
                for choice in chunk.choices:
                    said += choice.delta.content or ""
                    roles += [choice.delta.role] if choice.delta.role else []
                    ends += [choice.finish_reason] if choice.finish_reason else []
                usage = chunk.usage or usage
            assert (said, roles, ends) == (" water light stone", ["assistant"], ["length"])
            counted = (usage.prompt_tokens, usage.completion_tokens) if usage else None
            assert counted == ((9, 3) if style in USAGE_IN_STREAM else None)
            whole = await client.chat.completions.create(model="m", messages=MESSAGES, max_tokens=3)
            assert whole.choices[0].message.content == said
            assert whole.choices[0].message.role == "assistant"
            assert whole.usage is not None
            assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (9, 3, 12)

    with_rim(test, style=STYLES[style])


def test_completions(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        async with client_of(rim) as client:
            stream = await client.completions.create(model="m", prompt="a b", max_tokens=2, stream=True)
            chunks = [chunk async for chunk in stream]
            assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == " water light"
            assert chunks[-1].choices[0].finish_reason == "length"
            whole = await client.completions.create(model="m", prompt="a b", max_tokens=2)
            assert (whole.choices[0].text, whole.choices[0].finish_reason) == (" water light", "length")
            assert whole.usage is not None
            assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (2, 2)

    with_rim(test, style=STYLES[style])


def test_errors_and_models(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        async with client_of(rim) as client:
            wrong = client.completions.create(model="other", prompt="a", max_tokens=1)
            if style in WRONG_MODEL:
                with pytest.raises(WRONG_MODEL[style]):
                    await wrong
            else:
                assert (await wrong).model == ("other" if style == "llama-cpp-python" else "m")
            with pytest.raises(openai.BadRequestError):
                await client.completions.create(model="m", prompt="a " * 300, max_tokens=1)
            if style in NO_MODELS:
                with pytest.raises(openai.InternalServerError):
                    await client.models.list()
            else:
                assert [model.id async for model in client.models.list()] == ["m"]

    with_rim(test, style=STYLES[style])


def test_a_wrong_key_is_refused(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        async with client_of(rim) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.completions.create(model="m", prompt="a", max_tokens=1)

    with_rim(test, style=STYLES[style], api_key="secret")
