"""What each style says, written down by hand: the raw streams, the refusals, the paths, and what forces a length.

Where the recordings of the real servers are, test_styles_recorded.py compares with them; this needs nothing but itself.
"""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.simulator.engine import FixedEngine
from loadgen.simulator.styles import STYLES
from loadgen.simulator.text import answer_text
from loadgen.units import NS_PER_MS

WithRim = Callable[..., None]
Rim = Any  # tests/simulator/conftest.py
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "import os"}], "max_tokens": 2}
TEXT = {"model": "m", "prompt": "import os", "max_tokens": 2}

# A chat of two tokens, usage asked for, as HTTP chunks: T is the time, F a number of the server's own clock.
STREAMS = Path(__file__).parent / "streams"


async def raw(rim: Rim, path: str, body: Any) -> tuple[str, list[str], bool]:
    """Head, HTTP chunks (or the whole body), and whether the server closed the connection after them."""
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(rim.url.rpartition(":")[2]))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: I\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    received = (await reader.readuntil(b"\r\n\r\n")).decode()
    chunks: list[str] = []
    if "chunked" not in received:
        length = int(re.search(r"(?i)content-length: (\d+)", received)[1])  # type: ignore[index]
        whole = (await reader.readexactly(length)).decode()
        writer.close()
        return received, [whole], False
    while size := int(await reader.readline(), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2].decode())
    await reader.readline()
    writer.write(head.encode() + data)
    try:
        closed = not await reader.read(1)
    except ConnectionResetError:  # closed before the second request came
        closed = True
    writer.close()
    return received, chunks, closed


def plain(chunk: str) -> str:
    chunk = re.sub(r'("created": ?)\d+', r"\1T", chunk)
    chunk = re.sub(r'("system_fingerprint":)"[^"]+"', r'\1"S"', chunk)
    return re.sub(r'("(?:prompt|predicted)_(?:ms|per_token_ms|per_second)":)[-+.e\d]+', r"\1F", chunk)


@pytest.mark.parametrize("style", STYLES)
def test_a_chat_stream_chunk_by_chunk(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        body = HELLO | {"stream": True, "stream_options": {"include_usage": True}}
        _, chunks, closed = await raw(rim, CHAT, body)
        assert "".join(f"--- chunk\n{plain(chunk)}" for chunk in chunks) == (STREAMS / f"{style}.txt").read_text()
        assert closed == (style == "llama.cpp")

    with_rim(test, style=STYLES[style])


@pytest.mark.parametrize("style", STYLES)
def test_usage_comes_where_the_server_puts_it(with_rim: WithRim, style: str) -> None:
    """(asked for, not asked for) → on which event of a completion it is: the last, its own, or none."""
    expected = {
        "vllm": ("own", None),
        "llama.cpp": ("last", "last"),
        "llama-cpp-python": (None, None),
        "transformers": ("last", "last"),
        "mii": (None, None),
        "tensorrt-llm": ("own", None),
    }[style]

    async def test(rim: Rim) -> None:
        found = []
        for extra in ({"stream_options": {"include_usage": True}}, {}):
            _, chunks, _ = await raw(rim, COMPLETIONS, TEXT | {"stream": True} | extra)
            texts = [line[6:] for chunk in chunks for line in chunk.split("\n\n") if line and "[DONE]" not in line]
            events = [json.loads(text) for text in texts]
            at = [event for event in events if "usage" in event]
            assert all(one["usage"]["completion_tokens"] == 2 for one in at)
            assert at in ([], events[-1:])
            found.append(("last" if at[0]["choices"] else "own") if at else None)
            said = "".join(choice["text"] for event in events for choice in event["choices"])
            assert said == answer_text(2)
        assert tuple(found) == expected

    with_rim(test, style=STYLES[style])


REFUSED = {
    # style, what is sent beside TEXT → status, what the body holds; 200: taken
    ("vllm", "model"): (404, '"NotFoundError"'),
    ("llama.cpp", "model"): (200, '"model":"m"'),
    ("llama-cpp-python", "model"): (200, '"model":"nope"'),
    ("transformers", "model"): (400, "Server is pinned to 'm'; requested 'nope'."),
    ("mii", "model"): (400, '{"object":"error","message":"Model nope not found.","code":40301}'),
    ("tensorrt-llm", "model"): (200, '"model":"m"'),
    ("vllm", "strange"): (200, "usage"),
    ("llama.cpp", "strange"): (200, "usage"),
    ("llama-cpp-python", "strange"): (200, "usage"),
    ("transformers", "strange"): (422, '{"detail":"Unexpected fields in the request: {\'strange\'}"}'),
    ("mii", "strange"): (200, "usage"),
    ("tensorrt-llm", "strange"): (400, '{"error":"'),
    ("vllm", "max_tokens"): (400, "maximum context length"),
    ("llama.cpp", "max_tokens"): (200, '"completion_tokens":254'),
    ("llama-cpp-python", "max_tokens"): (200, '"completion_tokens":254'),
    ("transformers", "max_tokens"): (200, '"completion_tokens":254'),
    ("mii", "max_tokens"): (200, '"completion_tokens":254'),
    ("tensorrt-llm", "max_tokens"): (400, '{"error":"'),
    ("vllm", "ids"): (200, '"prompt_tokens":3'),
    ("llama.cpp", "ids"): (200, '"prompt_tokens":3'),
    ("llama-cpp-python", "ids"): (500, "error"),
    ("transformers", "ids"): (400, "detail"),
    ("mii", "ids"): (500, "Internal Server Error"),
    ("tensorrt-llm", "ids"): (200, '"prompt_tokens":3'),
    ("vllm", "long"): (400, "maximum context length is 256"),
    ("llama.cpp", "long"): (400, '"type":"exceed_context_size_error","n_prompt_tokens":300,"n_ctx":256}'),
    ("llama-cpp-python", "long"): (400, "context_length_exceeded"),
    ("mii", "long"): (400, "40303"),
    ("tensorrt-llm", "long"): (400, '{"error":"'),
}
SENT: dict[str, dict[str, Any]] = {
    "model": {"model": "nope"},
    "strange": {"strange": 1},
    "max_tokens": {"max_tokens": 9999},
    "ids": {"prompt": [1, 2, 3]},
    "long": {"prompt": "a " * 300},
}


@pytest.mark.parametrize("style", STYLES)
def test_what_a_server_refuses_and_in_which_words(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        for (whose, what), (status, holds) in REFUSED.items():
            if whose == style:
                head, (body,), _ = await raw(rim, COMPLETIONS, TEXT | SENT[what])
                assert int(head.split()[1]) == status, (what, body)
                assert holds in body, what

    with_rim(test, style=STYLES[style])


FORCES = {
    "vllm": {"ignore_eos", "min_tokens"},
    "llama.cpp": {"ignore_eos"},
    "llama-cpp-python": {"min_tokens", "logit_bias"},
    "transformers": {"generation_config"},
    "mii": {"min_tokens"},
    "tensorrt-llm": {"ignore_eos", "min_tokens"},
}
WAYS: dict[str, Any] = {
    "ignore_eos": True,
    "min_tokens": 60,
    "logit_bias": {"2": -100},
    "generation_config": '{"eos_token_id": -1}',
}


@pytest.mark.parametrize("style", STYLES)
def test_a_length_is_forced_only_by_what_the_server_heeds(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        known = STYLES[style].known_fields
        for name, value in WAYS.items():
            if known is None or name in known[False]:
                _, answer = await rim.post(COMPLETIONS, TEXT | {"max_tokens": 60, name: value})
                assert (answer["usage"]["completion_tokens"] == 60) == (name in FORCES[style]), name

    with_rim(test, style=STYLES[style], eos_probability=0.2, seed=1)


# What each real server sent of an answer that ends with its first token: the texts of a chat's deltas and of a
# completion's events (None: no text at all), and the completion_tokens of the answer in one piece.
STOPS: dict[str, tuple[list[str | None], list[str], int]] = {
    "vllm": (["", ""], [""], 1),
    "llama.cpp": ([None, None], ["", ""], 1),
    "llama-cpp-python": ([None, None], [""], 0),
    "transformers": ([None, None], [""], 1),
    "mii": ([None, "</s>", ""], ["</s>", ""], 0),
    "tensorrt-llm": (["", ""], [""], 1),  # as vLLM's: written from documents
}


@pytest.mark.parametrize("style", STYLES)
def test_what_a_stop_looks_like_and_whether_it_is_counted(with_rim: WithRim, style: str) -> None:
    chat, texts, counted = STOPS[style]

    async def test(rim: Rim) -> None:
        for path, body, expected in ((CHAT, HELLO, chat), (COMPLETIONS, TEXT, texts)):
            _, chunks, _ = await raw(rim, path, body | {"max_tokens": 9, "stream": True})
            lines = [line[6:] for line in "".join(chunks).split("\n") if line.startswith("data: {")]
            said = [json.loads(line)["choices"][0] for line in lines]
            assert [one.get("delta", one).get("content", one.get("text")) for one in said] == expected
            assert [one.get("finish_reason") for one in said] == [None] * (len(expected) - 1) + ["stop"]
            _, (text,), _ = await raw(rim, path, body | {"max_tokens": 9})
            whole = json.loads(text)
            assert (whole["usage"]["completion_tokens"], whole["choices"][0]["finish_reason"]) == (counted, "stop")

    with_rim(test, style=STYLES[style], eos_probability=1.0, seed=1)


PATHS = {  # style → status of /health, /v1/models, /metrics, /tokenize, /props
    "vllm": (200, 200, 200, 200, 404),
    "llama.cpp": (200, 200, 200, 200, 200),
    "llama-cpp-python": (404, 200, 404, 404, 404),
    "transformers": (200, 500, 404, 404, 404),
    "mii": (200, 200, 404, 404, 404),
    "tensorrt-llm": (200, 200, 200, 404, 404),
}


@pytest.mark.parametrize("style", STYLES)
def test_paths(with_rim: WithRim, style: str) -> None:
    async def test(rim: Rim) -> None:
        found = []
        for path in ("/health", "/v1/models", "/metrics", "/tokenize", "/props"):
            body = b'{"prompt":"a b","content":"a b"}' if path == "/tokenize" else None
            async with rim.session.request("POST" if body else "GET", rim.url + path, data=body) as response:
                found.append(response.status)
                text = await response.text()
            if path == "/v1/models" and response.status == 200:
                owner = STYLES[style].owner
                entry = json.loads(text)["data"][0]
                assert (entry["id"], entry["owned_by"]) == ("m", owner)
            if path == "/tokenize" and response.status == 200:
                assert len(json.loads(text)["tokens"]) == 2
        assert tuple(found) == PATHS[style]

    with_rim(test, style=STYLES[style])


def test_metrics_have_the_servers_own_names(with_rim: WithRim) -> None:
    async def llama_cpp(rim: Rim) -> None:
        await raw(rim, COMPLETIONS, TEXT)
        metrics = await rim.metrics()
        assert metrics["llamacpp:tokens_predicted_total"] == metrics["llamacpp:prompt_tokens_total"] == 2
        assert metrics["llamacpp:requests_processing"] == metrics["llamacpp:requests_deferred"] == 0
        assert any(name.startswith("simulator:lateness_seconds") for name in metrics)

    async def tensorrt_llm(rim: Rim) -> None:
        waiting = asyncio.ensure_future(rim.post(COMPLETIONS, TEXT | {"max_tokens": 100}))
        await rim.until(lambda: rim.engine.running == 1)
        async with rim.session.get(rim.url + "/metrics") as response:
            (iteration,) = await response.json()
        assert (iteration["numActiveRequests"], iteration["numQueuedRequests"]) == (1, 0)
        async with rim.session.get(rim.url + "/prometheus/metrics") as response:
            assert 'trtllm_num_requests_running{model_name="m",engine_type="trtllm"} 1' in await response.text()
        await waiting

    with_rim(llama_cpp, style=STYLES["llama.cpp"])
    with_rim(tensorrt_llm, style=STYLES["tensorrt-llm"])


def test_some_servers_say_nothing_to_a_prompt_that_is_too_long(with_rim: WithRim) -> None:
    async def empty(rim: Rim) -> None:
        head, chunks, closed = await raw(rim, COMPLETIONS, TEXT | SENT["long"] | {"stream": True})
        assert (head.split()[1], chunks, closed) == ("200", [], True)

    async def silent(rim: Rim) -> None:
        body = json.dumps(TEXT | SENT["long"] | {"stream": True}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(rim.url.rpartition(":")[2]))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert (await rim.post(COMPLETIONS, TEXT))[0] == 200  # others are served meanwhile
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        writer.close()

    with_rim(empty, style=STYLES["llama-cpp-python"])
    with_rim(silent, style=STYLES["transformers"])


def test_a_list_of_prompts_begins_with_null_at_llama_cpp_and_is_cut_to_one_at_mii(with_rim: WithRim) -> None:
    async def llama_cpp(rim: Rim) -> None:
        _, chunks, _ = await raw(rim, COMPLETIONS, TEXT | {"prompt": ["a", "b"], "stream": True})
        assert chunks[0] == "data: null\n\n"
        assert sum('"finish_reason":"length"' in chunk for chunk in chunks) == 2

    async def mii(rim: Rim) -> None:
        _, answer = await rim.post(COMPLETIONS, TEXT | {"prompt": ["a", "b"]})
        assert len(answer["choices"]) == 1

    with_rim(llama_cpp, style=STYLES["llama.cpp"])
    with_rim(mii, style=STYLES["mii"])


def test_copies_count_as_the_server_counts_them(with_rim: WithRim) -> None:
    for style, choices, counted in (("vllm", 2, 4), ("llama.cpp", 2, 2), ("mii", 1, 2)):

        async def test(rim: Rim, choices: int = choices, counted: int = counted) -> None:
            _, answer = await rim.post(COMPLETIONS, TEXT | {"n": 2})
            assert (len(answer["choices"]), answer["usage"]["completion_tokens"]) == (choices, counted)

        with_rim(test, style=STYLES[style])


def test_the_role_comes_at_once_where_it_does(with_rim: WithRim) -> None:
    """A client that takes the first event for the first token is fooled by two servers out of six."""

    async def begins(rim: Rim) -> bool:
        body = json.dumps(HELLO | {"stream": True}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(rim.url.rpartition(":")[2]))
        writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
        await reader.readuntil(b"\r\n\r\n")
        try:
            await asyncio.wait_for(reader.readuntil(b"assistant"), 0.05)
        except TimeoutError:
            return False
        finally:
            writer.close()
        return True

    for style in STYLES:

        async def test(rim: Rim, style: str = style) -> None:
            assert await begins(rim) == (style in ("transformers", "mii"))

        with_rim(test, FixedEngine(5000 * NS_PER_MS, NS_PER_MS, 10), style=STYLES[style])


@pytest.mark.parametrize(("style", "comment"), [("llama.cpp", ":\n\n"), ("llama-cpp-python", ": ping - 20")])
def test_comments_fill_the_silence(with_rim: WithRim, style: str, comment: str) -> None:
    async def test(rim: Rim) -> None:
        _, chunks, _ = await raw(rim, COMPLETIONS, TEXT | {"stream": True})
        pings = [chunk for chunk in chunks if chunk.startswith(":")]
        assert len(pings) >= 2
        assert all(ping.startswith(comment) and ping.endswith("\n\n") for ping in pings)

    with_rim(test, FixedEngine(100 * NS_PER_MS, NS_PER_MS, 10), style=STYLES[style], ping_s=0.02)


def test_several_tokens_share_an_event_when_asked(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        options = {"include_usage": True, "continuous_usage_stats": True}
        events = await rim.events(COMPLETIONS, TEXT | {"max_tokens": 10, "stream_options": options})
        assert [event["usage"]["completion_tokens"] for event in events] == [1, 5, 9, 10, 10]
        assert "".join(event["choices"][0]["text"] for event in events[:-1]) == answer_text(10)

    with_rim(test, tokens_per_event=4)


def test_vllm_sends_an_overruled_stop_as_a_token_without_text(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        body = TEXT | {"max_tokens": 60, "ignore_eos": True}
        *events, usage = await rim.events(COMPLETIONS, body | {"stream_options": {"include_usage": True}})
        assert usage["usage"]["completion_tokens"] == len(events) == 60
        assert 0 < sum(event["choices"][0]["text"] == "" for event in events) < 30
        masked = await rim.events(COMPLETIONS, body | {"min_tokens": 60})
        assert all(event["choices"][0]["text"] for event in masked)

    with_rim(test, eos_probability=0.2, seed=2)


def test_llama_cpp_tells_timings_with_every_token_when_asked(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        events = await rim.events(COMPLETIONS, TEXT | {"max_tokens": 4, "timings_per_token": True})
        assert [event["timings"]["predicted_n"] for event in events] == [1, 2, 3, 4, 4]
        assert events[-1]["timings"]["prompt_ms"] == pytest.approx(1.0)
        assert events[-1]["timings"]["predicted_ms"] == pytest.approx(3.0)

    with_rim(test, style=STYLES["llama.cpp"])
