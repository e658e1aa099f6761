"""The proxy passes everything on as it is and as it comes, and writes a row of each completion."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from middle import between

EVENT = b'data: {"choices": [{"text": " a", "finish_reason": null}]}\n\n'
USAGE = b'"usage": {"prompt_tokens": 5, "completion_tokens": 3}'
LAST = b'data: {"choices": [{"text": " b", "finish_reason": "length"}], ' + USAGE + b"}\n\n"
DONE = b"data: [DONE]\n\n"
ASK: dict[str, Any] = {"model": "m", "prompt": [1, 2, 3, 4, 5], "stream": True, "max_tokens": 3}


def secret_free(folder: Path, *secrets: str) -> bool:
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    return not any(secret.encode() in written for secret in secrets)


def test_every_event_passes_before_the_next_one_is_made(run, tmp_path: Path) -> None:
    seen = asyncio.Semaphore(0)

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in (EVENT, EVENT, LAST, DONE):
            await response.write(event)
            await seen.acquire()  # the client holds this event before there is another
        return response

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b, b.client.post(f"{b.url}/v1/completions", json=ASK) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            for event in (EVENT, EVENT, LAST, DONE):
                assert await answer.content.readexactly(len(event)) == event
                seen.release()
            assert await answer.read() == b""
        (row,) = b.rows()
        assert (row["input_tokens"], row["output_tokens"], row["status"], row["stream"]) == (5, 3, 200, True)
        assert (row["model"], row["max_tokens"], len(row["blocks"])) == ("m", 3, 2)
        assert 0 < row["ttft_ns"] < row["duration_ns"]

    run(test())


def test_requests_and_answers_are_not_changed(run, tmp_path: Path) -> None:
    packed = gzip.compress(b'{"choices": []}')
    got: dict[str, Any] = {}

    async def serve(request: web.Request) -> web.StreamResponse:
        got.update(
            method=request.method,
            path=request.raw_path,
            headers=list(request.headers.items()),
            body=await request.read(),
        )
        return web.Response(
            status=418,
            reason="Teapot",
            body=packed,
            headers={"Content-Encoding": "gzip", "X-Trace": "a, b", "Server": "theirs"},
        )

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            headers = {"Authorization": "Bearer sk-very-secret", "X-Thing": "1", "User-Agent": "mine"}
            url = f"{b.url}/v1/odd%2Fpath?q=%20x"
            async with b.client.put(aiohttp.client.URL(url, encoded=True), data=b"\x00\xff", headers=headers) as answer:
                assert (answer.status, answer.reason, await answer.read()) == (418, "Teapot", packed)
                assert answer.headers["X-Trace"] == "a, b"
                assert answer.headers["Server"] == "theirs"
                assert answer.headers["Content-Length"] == str(len(packed))
        assert (got["method"], got["path"], got["body"]) == ("PUT", "/v1/odd%2Fpath?q=%20x", b"\x00\xff")
        assert ("Authorization", "Bearer sk-very-secret") in got["headers"]
        assert ("User-Agent", "mine") in got["headers"]
        assert b.rows() == []  # no completion
        assert secret_free(tmp_path / "c", "sk-very-secret")

    run(test())


@pytest.mark.parametrize("keep_text", [False, True])
def test_text_is_stored_only_when_asked(run, tmp_path: Path, keep_text: bool) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "choices": [{"message": {"content": "my answer"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 2},
            }
        )

    async def test() -> None:
        async with between(serve, tmp_path / "c", keep_text=keep_text) as b:
            body = {"model": "m", "messages": [{"role": "user", "content": "my question"}], "user": "jane"}
            headers = {"Authorization": "Bearer sk-1", "X-Session-Id": "jane-7"}
            async with b.client.post(f"{b.url}/v1/chat/completions", json=body, headers=headers) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "my answer"
        (row,) = b.rows()
        assert (row["input_tokens"], row["output_tokens"], row["ttft_ns"]) == (9, 2, None)
        assert secret_free(tmp_path / "c", "sk-1", "jane-7", "my answer", "127.0.0.1:0")
        assert secret_free(tmp_path / "c", "my question", "jane") is not keep_text
        assert ("request" in row) is keep_text

    run(test())


def test_a_client_that_goes_takes_its_request_along(run, tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(EVENT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.set()
            raise
        return response

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            answer = await b.client.post(f"{b.url}/v1/completions", json=ASK)
            await answer.content.readexactly(len(EVENT))
            answer.close()
            await gone.wait()
        (row,) = b.rows()
        assert (row["status"], row["output_tokens"]) == (499, 1)

    run(test())


def test_an_answer_that_breaks_off_is_broken_for_the_client_too(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(EVENT)
        assert request.transport is not None
        request.transport.close()
        return response

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b, b.client.post(f"{b.url}/v1/completions", json=ASK) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        (row,) = b.rows()
        assert (row["status"], row["output_tokens"]) == (502, None)

    run(test())


def test_a_connection_closed_while_idle_costs_nothing(run, tmp_path: Path) -> None:
    served = []

    async def serve(request: web.Request) -> web.StreamResponse:
        served.append(await request.read())
        response = web.json_response({"n": len(served)})
        await response.prepare(request)
        await response.write_eof()
        assert request.transport is not None
        request.transport.close()  # though it promised to keep it
        return response

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            for n in range(1, 6):
                async with b.client.post(f"{b.url}/v1/other", json={"n": n}) as answer:
                    assert (answer.status, await answer.json()) == (200, {"n": n})

    run(test())


def test_nobody_there_is_a_502_in_words(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        raise AssertionError

    async def test() -> None:
        async with between(serve, tmp_path / "c", upstream="http://127.0.0.1:9") as b:
            answer = await b.client.post(f"{b.url}/v1/completions", json=ASK)
            assert answer.status == 502
            assert "does not answer" in (await answer.json())["error"]["message"]
        (row,) = b.rows()
        assert row["status"] == 502

    run(test())


def test_a_large_body_passes_in_pieces(run, tmp_path: Path) -> None:
    size = 40 << 20

    async def serve(request: web.Request) -> web.StreamResponse:
        total = 0
        async for piece in request.content.iter_any():
            total += len(piece)
        return web.json_response({"total": total})

    async def pieces():
        for _ in range(40):
            yield b"x" * (1 << 20)

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            async with b.client.post(f"{b.url}/v1/completions", data=pieces()) as answer:
                assert (await answer.json())["total"] == size
            assert b.writer.missed == {"a body too large": 1}
        assert b.rows() == []

    run(test())


def test_what_is_no_request_is_passed_on_and_not_recorded(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.Response(status=400, text="not JSON")

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            for body in (b"{broken", b"[]", b'"text"', b'{"model": "m"}', b"\xff"):
                async with b.client.post(f"{b.url}/v1/completions", data=body) as answer:
                    assert (answer.status, await answer.text()) == (400, "not JSON")
        assert b.rows() == []
        assert b.writer.missed == {"the body was no request": 5}

    run(test())


def test_when_the_loop_is_late_recording_pauses_and_serving_does_not(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": []})

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            b.proxy.recording.fall_behind()
            async with b.client.post(f"{b.url}/v1/completions", json=ASK) as answer:
                assert answer.status == 200
            assert b.writer.missed == {"this machine was overloaded": 1}

    run(test())


def test_a_full_disk_stops_the_trace_and_not_the_service(run, tmp_path: Path) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": []})

    class Full:
        def write(self, _: bytes) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            """Nothing is open."""

    async def test() -> None:
        async with between(serve, tmp_path / "c") as b:
            b.writer._file.close()
            b.writer._file = Full()
            for _ in range(3):
                async with b.client.post(f"{b.url}/v1/completions", json=ASK) as answer:
                    assert answer.status == 200
        manifest = json.loads((tmp_path / "c" / "capture.json").read_text())
        assert sum(manifest["missed"].values()) == 3
        assert "No space left" in next(iter(manifest["missed"]))

    run(test())
