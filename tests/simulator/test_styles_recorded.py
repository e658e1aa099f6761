"""Every style beside what its server was recorded to send, byte for byte, when the recordings are here.

What is a fact of one request (ids, times, texts, numbers of another model) is rubbed out on both sides; what is left
is compared as bytes, HTTP chunks included, and the headers by name and value, and whether the connection is closed.
Known differences stand in a table.
"""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.simulator.styles import STYLES

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
FILES = {
    "vllm": "vllm_cpu",
    "llama.cpp": "llama_server",
    "llama-cpp-python": "llama_cpp_python",
    "transformers": "transformers_serve",
    "mii": "deepspeed_mii_http",
}
# What the simulator does not do, on purpose.
OTHER = {
    ("vllm", "completion_eos_now"): "no token of the simulator ends an answer by a bias",
    ("llama.cpp", "completion_eos_now"): "the same",
    ("llama-cpp-python", "completion_eos_now"): "the same",
    ("mii", "chat_nonstream"): "its stand-in counted 10 tokens for 5",
    ("mii", "prompt_too_long_stream"): "its stand-in took any prompt",
}
# MII's stand-in said the finish_reason on the last token; its own scheduler says it after (tests/engines/test_mii.py).
ON_THE_LAST_TOKEN = re.compile(rb'(data: .*)"W"(.*"finish_reason":)("length"|"stop")(.*)', re.DOTALL)
RUBBED = (
    (rb'("(?:text|content)": ?)"[^"]+"', rb'\1"W"'),
    (rb'("id": ?)"[^"]*"', rb'\1"I"'),
    (rb'("created": ?)\d+', rb"\g<1>0"),
    (rb'("system_fingerprint": ?)"[^"]+"', rb'\1"F"'),
    (rb'("(?:cache_n|cached_tokens|prompt_n|n_\w+|size|max_model_len|vocab_type)":)\d+', rb"\g<1>0"),
    (rb'("(?:prompt|predicted)_(?:ms|per_token_ms|per_second)":)[-+.e\d]+', rb"\g<1>0"),
    (rb'("message": ?)"(?!The model|Model|File)[^"\\]*(?:\\.[^"\\]*)*"', rb'\1"M"'),
    (rb'("(?:root|error)": ?)"[^"]*"', rb'\1"R"'),
    (rb'"(?:param|created)":("body.*?"|"input_tokens")', b'"param":P'),
)
PASSING = {"date", "content-length", "x-request-id", "openai-processing-ms", "connection"}


def cases() -> list[Any]:
    found = []
    for style, name in FILES.items():
        path = FIXTURES / f"{name}.jsonl"
        rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        found += [pytest.param(style, row, id=f"{style}-{row['case']}") for row in rows]
    return found or [pytest.param("", {}, marks=pytest.mark.skip("the recorded exchanges are not here"))]


def rubbed(data: bytes) -> bytes:
    for pattern, instead in RUBBED:
        data = re.sub(pattern, instead, data)
    return data


def parts(raw: bytes) -> tuple[bytes, dict[str, str], list[bytes]]:
    """Status line, headers, and the body: its HTTP chunks, or the whole of it."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.pop("transfer-encoding", "") != "chunked":
        return status.encode(), headers, [rubbed(body)]
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        pieces.append(rubbed(rest[: int(size, 16)]))
        body = rest[int(size, 16) + 2 :]
    return status.encode(), headers, pieces


def said_after(piece: bytes) -> list[bytes]:
    found = ON_THE_LAST_TOKEN.fullmatch(piece)
    if found is None:
        return [piece]
    before, between, reason, after = found.groups()
    return [before + b'"W"' + between + b"null" + after, before + b'""' + between + reason + after]


async def exchange(url: str, row: dict[str, Any], until: Callable[[bytes], bool]) -> bytes:
    """Send what was sent then; read until the answer is as whole as the recorded one was."""
    body = row["body"]
    if row["case"] == "prompt_too_long_stream":
        text = json.dumps({"model": MODELS[row["server"]], "prompt": "import os " * 6000, "stream": True})
    else:
        text = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    head = f"{row['method']} {row['path']} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write((head + f"Content-Length: {len(text)}\r\n\r\n{text}").encode())
    received = b""
    while not until(received):
        data = await reader.read(1 << 16)
        received += data
        if not data:
            break
    if "server closed" in row["end"]:
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    return received


MODELS = {
    "vllm": "tiny",
    "llama-server": "tiny",
    "llama_cpp.server": "tiny",
    "transformers": "models/tiny-hf",
    "deepspeed-mii": "models/tiny-hf",
}


@pytest.mark.parametrize(("style", "row"), cases())
def test_bytes_are_those_of_the_recorded_server(with_rim: Callable[..., None], style: str, row: dict[str, Any]) -> None:
    if (style, row["case"]) in OTHER:
        pytest.skip(OTHER[style, row["case"]])
    recorded = "".join(text for _, text in row["chunks"]).encode()
    status, headers, pieces = parts(recorded)
    if style == "mii":
        pieces = [each for piece in pieces for each in said_after(piece)]
    silent = row["end"].startswith("no bytes")

    def whole(received: bytes) -> bool:
        if silent:
            return received.endswith(b"\r\n\r\n")
        if b"chunked" in received.partition(b"\r\n\r\n")[0]:
            return received.endswith(b"0\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", received)
        return length is not None and len(received.partition(b"\r\n\r\n")[2]) == int(length[1])

    async def test(rim: Any) -> None:
        got_status, got_headers, got = parts(await exchange(rim.url, row, whole))
        assert got_status == status
        assert got == pieces
        wanted = {name: value for name, value in headers.items() if name not in PASSING}
        assert {name: value for name, value in got_headers.items() if name not in PASSING} == wanted

    with_rim(test, style=STYLES[style], models=[MODELS[row["server"]]], max_model_len=2048)
