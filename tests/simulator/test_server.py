"""The rim on a real socket: what clients send, what they get, and what it leaves behind."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from loadgen.simulator.__main__ import new_event_loop
from loadgen.simulator.batching import Batch
from loadgen.simulator.engine import FixedEngine, SteppedEngine
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.server import Simulator
from loadgen.simulator.text import answer_text
from loadgen.units import NS_PER_MS, NS_PER_S

WithRim = Callable[..., None]
Rim = Any  # tests/simulator/conftest.py

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "import os"}], "max_tokens": 4}


def test_a_chat_stream(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        events = await rim.events(CHAT, HELLO)
        assert [event["choices"][0]["delta"] for event in events] == [
            {"role": "assistant", "content": ""},
            {"content": " water"},
            {"content": " light"},
            {"content": " stone"},
            {"content": " river"},
        ]
        assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, None, "length"]
        assert not any("usage" in event for event in events)
        assert len({event["id"] for event in events}) == 1

    with_rim(test)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_usage_comes_only_when_asked_for(with_rim: WithRim, path: str) -> None:
    async def test(rim: Rim) -> None:
        body = HELLO | {"prompt": [1, 2, 3]}
        input_tokens = 9 if path == CHAT else 3
        total = {"prompt_tokens": input_tokens, "completion_tokens": 4, "total_tokens": input_tokens + 4}
        *tokens, usage = await rim.events(path, body | {"stream_options": {"include_usage": True}})
        assert (usage["choices"], usage["usage"]) == ([], total)
        assert not any("usage" in event for event in tokens)
        options = {"include_usage": True, "continuous_usage_stats": True}
        *tokens, usage = await rim.events(path, body | {"stream_options": options})
        assert usage["usage"] == total
        counts = [event["usage"]["completion_tokens"] for event in tokens]
        assert counts == ([0, 1, 2, 3, 4] if path == CHAT else [1, 2, 3, 4])

    with_rim(test)


def test_an_answer_in_one_piece_and_on_the_same_connection(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        for _ in range(2):
            await rim.events(COMPLETIONS, {"prompt": "a b c", "max_tokens": 2})
        status, answer = await rim.post(COMPLETIONS, {"prompt": "a b c"})
        assert status == 200
        usage = answer["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 16, 19)
        assert answer["choices"][0]["finish_reason"] == "length"
        status, answer = await rim.post(CHAT, {"messages": HELLO["messages"], "max_completion_tokens": 2})
        assert answer["choices"][0]["message"]["content"] == " water light"
        assert len(rim.session.connector._conns) == 1  # every answer left the connection usable

    with_rim(test)


def test_without_max_tokens_a_chat_goes_to_the_end_of_the_context(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        _, answer = await rim.post(CHAT, {"messages": HELLO["messages"]})
        assert answer["usage"]["total_tokens"] == 40

    with_rim(test, max_model_len=40)


@pytest.mark.parametrize(
    ("prompt", "input_tokens", "choices"),
    [("a b c", 3, 1), ([5, 6], 2, 1), (["a b", "c"], 3, 2), ([[1, 2], [3], [4]], 4, 3)],
)
def test_every_form_of_a_prompt(with_rim: WithRim, prompt: Any, input_tokens: int, choices: int) -> None:
    async def test(rim: Rim) -> None:
        body = {"prompt": prompt, "max_tokens": 3, "n": 2}
        _, answer = await rim.post(COMPLETIONS, body)
        assert answer["usage"]["prompt_tokens"] == input_tokens
        assert [choice["index"] for choice in answer["choices"]] == list(range(choices * 2))
        events = await rim.events(COMPLETIONS, body)
        texts: dict[int, str] = {}
        for event in events:
            choice = event["choices"][0]
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        assert texts == dict.fromkeys(range(choices * 2), " water light stone")

    with_rim(test)


def test_a_seeded_coin_may_end_an_answer_early(with_rim: WithRim) -> None:
    lengths = []

    async def test(rim: Rim) -> None:
        body = {"prompt": ["a"] * 50, "max_tokens": 20}
        _, answer = await rim.post(COMPLETIONS, body)
        ends = {choice["finish_reason"] for choice in answer["choices"]}
        assert ends == {"stop", "length"}
        lengths.append(answer["usage"]["completion_tokens"])
        for exact in ({"ignore_eos": True}, {"min_tokens": 20}):
            _, answer = await rim.post(COMPLETIONS, body | exact)
            assert answer["usage"]["completion_tokens"] == 50 * 20
        stopped = await rim.events(COMPLETIONS, {"prompt": "a", "max_tokens": 200})
        last = stopped[-1]["choices"][0]
        assert (last["text"], last["finish_reason"]) == ("", "stop")

    for _ in range(2):
        with_rim(test, eos_probability=0.1, seed=3)
    assert lengths[0] == lengths[1] < 50 * 20


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "says"),
    [
        (COMPLETIONS, b"{bad", 400, "Bad Request", "not JSON"),
        (COMPLETIONS, {"prompt": 5}, 400, "Bad Request", "prompt"),
        (COMPLETIONS, {"prompt": ""}, 400, "BadRequestError", "empty"),
        (COMPLETIONS, {}, 400, "BadRequestError", "empty"),
        (CHAT, {"prompt": "a"}, 400, "BadRequestError", "messages"),
        (COMPLETIONS, {"prompt": [1] * 256}, 400, "BadRequestError", "maximum context length is 256"),
        (COMPLETIONS, {"prompt": "a", "max_tokens": 256}, 400, "BadRequestError", "maximum context length is 256"),
        (COMPLETIONS, {"prompt": "a", "max_tokens": 0}, 400, "BadRequestError", "max_tokens"),
        (COMPLETIONS, {"prompt": "a", "min_tokens": 99}, 400, "BadRequestError", "min_tokens"),
        (COMPLETIONS, {"prompt": "a", "n": 0}, 400, "BadRequestError", "n must"),
        (COMPLETIONS, {"prompt": "a", "stream_options": {}}, 400, "BadRequestError", "stream"),
        (COMPLETIONS, {"prompt": "a", "model": "other"}, 404, "NotFoundError", "`other`"),
    ],
)
def test_a_wrong_request_is_told_why(
    with_rim: WithRim, path: str, body: Any, status: int, kind: str, says: str
) -> None:
    async def test(rim: Rim) -> None:
        got, answer = await rim.post(path, body)
        assert (got, answer["error"]["code"], answer["error"]["type"]) == (status, status, kind)
        assert says in answer["error"]["message"]

    with_rim(test)


def test_paths_keys_and_models(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        assert (await rim.post("/v1/nothing", {}))[0] == 404
        assert (await rim.post("/health", {}))[0] == 405
        assert (await rim.post(CHAT, HELLO))[0] == 401
        assert (await rim.post(CHAT, HELLO, Authorization="Bearer wrong"))[0] == 401
        assert (await rim.post(CHAT, HELLO, Authorization="Bearer secret"))[0] == 200
        async with rim.session.get(rim.url + "/health") as response:
            assert response.status == 200
        headers = {"Authorization": "Bearer secret"}
        async with rim.session.get(rim.url + "/v1/models", headers=headers) as response:
            listed = (await response.json())["data"]
        assert [(model["id"], model["max_model_len"]) for model in listed] == [("m", 256), ("alias", 256)]

    with_rim(test, api_key="secret", models=["m", "alias"])


def test_tokenize_counts_as_usage_does(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        for path, body in ((COMPLETIONS, {"prompt": "some extraordinary words"}), (CHAT, HELLO)):
            _, answer = await rim.post(path, body)
            _, counted = await rim.post("/tokenize", body)
            assert counted["count"] == len(counted["tokens"]) == answer["usage"]["prompt_tokens"]
            assert counted["max_model_len"] == 256

    with_rim(test)


def test_metrics_count_what_was_served(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        for _ in range(3):
            await rim.events(COMPLETIONS, {"prompt": "a b", "max_tokens": 5})
        metrics = await rim.metrics()
        labels = 'engine="0",model_name="m"'
        assert metrics[f"vllm:prompt_tokens_total{{{labels}}}"] == 6
        assert metrics[f"vllm:generation_tokens_total{{{labels}}}"] == 15
        assert metrics[f'vllm:request_success_total{{{labels},finished_reason="length"}}'] == 3
        assert metrics[f"vllm:time_to_first_token_seconds_count{{{labels}}}"] == 3
        assert metrics[f"vllm:time_to_first_token_seconds_sum{{{labels}}}"] == pytest.approx(
            0.003
        )  # 1 ms each, exactly
        assert metrics[f"vllm:inter_token_latency_seconds_sum{{{labels}}}"] == pytest.approx(0.012)
        assert metrics[f'vllm:inter_token_latency_seconds_bucket{{{labels},le="0.01"}}'] == 12
        assert metrics[f'vllm:inter_token_latency_seconds_bucket{{{labels},le="+Inf"}}'] == 12
        assert metrics[f'simulator:lateness_seconds{{{labels},window="10s",quantile="max"}}'] > 0
        assert metrics[f"vllm:num_requests_running{{{labels}}}"] == 0

    with_rim(test)


def stepped() -> SteppedEngine:
    return SteppedEngine(Batch(BlockPool(100), POLICIES["chunked"], 2, 64), lambda _: 5 * NS_PER_MS)


@pytest.mark.parametrize("engine", [lambda: FixedEngine(NS_PER_MS, 5 * NS_PER_MS, 2), stepped])
def test_a_client_that_leaves_frees_its_sequences(with_rim: WithRim, engine: Callable[[], Any]) -> None:
    async def test(rim: Rim) -> None:
        body = json.dumps({"prompt": ["a"] * 3, "max_tokens": 200, "stream": True}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(rim.url.rpartition(":")[2]))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"data: ")
        assert (rim.engine.running, rim.engine.waiting) == (2, 1)
        writer.close()
        await writer.wait_closed()
        await rim.until(lambda: rim.engine.running + rim.engine.waiting == 0)
        assert rim.engine.kv_usage == 0
        _, answer = await rim.post(COMPLETIONS, {"prompt": "a", "max_tokens": 2})
        assert answer["usage"]["completion_tokens"] == 2
        metrics = await rim.metrics()
        assert metrics['vllm:request_success_total{engine="0",model_name="m",finished_reason="abort"}'] == 3

    with_rim(test, engine())


def test_a_full_queue_answers_429(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        hold = [asyncio.ensure_future(rim.post(COMPLETIONS, {"prompt": "a"})) for _ in range(2)]
        await rim.until(lambda: rim.engine.waiting == 1)
        status, answer = await rim.post(COMPLETIONS, {"prompt": "a"})
        assert (status, answer["error"]["code"]) == (429, 429)
        assert [status for status, _ in await asyncio.gather(*hold)] == [200, 200]

    with_rim(test, FixedEngine(100 * NS_PER_MS, NS_PER_MS, 1, max_queue=1))


def test_the_log_tells_every_events_true_time(with_rim: WithRim) -> None:
    log = io.StringIO()

    async def test(rim: Rim) -> None:
        headers = {"X-Request-Id": 'mine "1"'}
        async with rim.session.post(rim.url + CHAT, json=HELLO | {"stream": True}, headers=headers) as response:
            assert b'"chatcmpl-mine \\"1\\""' in await response.read()

    with_rim(test, log=log)
    row = json.loads(log.getvalue())
    assert (row["rid"], row["input_tokens"], row["output_tokens"], row["end"]) == ('mine "1"', 9, 4, "length")
    assert row["due_ns"] == [row["received_ns"] + k * NS_PER_MS for k in range(1, 5)]
    late = [written - due for written, due in zip(row["written_ns"], row["due_ns"], strict=True)]
    assert all(0 <= one < NS_PER_S for one in late)  # never early


def test_a_stream_is_refused_to_http_1_0_and_other_answers_are_not(with_rim: WithRim) -> None:
    async def test(rim: Rim) -> None:
        for stream, status in (("true", b"400"), ("false", b"200")):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(rim.url.rpartition(":")[2]))
            body = b'{"prompt":"a","stream":%b}' % stream.encode()
            writer.write(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert (await reader.read()).split()[1] == status
            writer.close()
            await writer.wait_closed()

    with_rim(test)


@pytest.mark.parametrize("new_loop", [new_event_loop, asyncio.new_event_loop])
def test_a_slow_reader_gets_every_byte_in_order(with_rim: WithRim, new_loop: Callable[[], Any]) -> None:
    async def test(rim: Rim) -> None:
        body = json.dumps({"prompt": ["a"] * 400, "max_tokens": 200, "stream": True}).encode()
        port = int(rim.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        received = bytearray(await reader.readuntil(b"data: "))
        await rim.until(lambda: rim.engine.running == 0)  # 20 MB in all: more than the sockets hold
        while not received.endswith(b"0\r\n\r\n"):
            received += await reader.read(1 << 20)
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        chunks = received.partition(b"\r\n\r\n")[2].split(b"\r\ndata: ")  # a size, then an event and the next size …
        events = [chunk.rpartition(b"\n\n")[0] for chunk in chunks[1:]]
        assert events.pop() == b"[DONE]"
        texts: dict[int, str] = {}
        for event in events:
            choice = json.loads(event)["choices"][0]
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        assert texts == dict.fromkeys(range(400), answer_text(200))
        writer.close()
        await writer.wait_closed()

    with_rim(test, FixedEngine(NS_PER_MS, 1, 400), new_loop)


def test_a_late_simulator_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        simulator = Simulator(FixedEngine(20 * NS_PER_MS, 10 * NS_PER_MS, 9), ["m"], 256)
        for late_ns in (1 * NS_PER_MS, 3 * NS_PER_MS, 9 * NS_PER_MS):  # the second is more than 20 % of 10 ms
            simulator._tally.lateness.add(late_ns)
            simulator._second.cancel()
            simulator._turn_second()
        await simulator.close()

    asyncio.run(main())
    complaints = capsys.readouterr().err
    assert len(complaints.splitlines()) == 1
    assert "p99 of the last 10 s is 3.0 ms, a step is 10.0 ms" in complaints
