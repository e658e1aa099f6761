"""A server that is not there, or is something else, is found out before the run and said in one sentence."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loadgen.errors import ExitCode

from .conftest import HeldServer

Command = Callable[..., tuple[int, str, str]]


def http(status: str, content: object, kind: str = "application/json") -> bytes:
    body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


ANSWERS = {
    "another protocol": (
        b"220 mail.example ESMTP\r\n",
        "answers, but not with HTTP ('220 mail.example ESMTP')",
        "port",
    ),
    "binary": (b"\x00\x01\x02\xff" * 9, "answers, but not with HTTP", "port of the API server"),
    "nothing": (b"", "answers, but not with HTTP", "port of the API server"),
    "401": (http("401 Unauthorized", {"error": "no"}), "wants an API key (HTTP 401)", "--api-key or OPENAI_API_KEY"),
    "403": (http("403 Forbidden", {}), "wants an API key (HTTP 403)", "--api-key or OPENAI_API_KEY"),
    "a web page": (http("200 OK", "<html><title>Hi</title>", "text/html"), "an HTML page: Hi", "OpenAI-compatible"),
    "no models": (http("200 OK", {"data": []}), "does not say which model it serves", "--model"),
    "two models": (http("200 OK", {"data": [{"id": "a"}, {"id": "b"}]}), "several models: a, b.", "--model"),
}


@pytest.mark.parametrize(("words", "sentence", "hint"), ANSWERS.values(), ids=ANSWERS)
def test_what_it_answers_is_said(
    words: bytes, sentence: str, hint: str, speaks: Callable[[bytes], str], command: Command, elsewhere: Path
) -> None:
    code, out, err = command("run", "--base-url", speaks(words))
    assert (code, out) == (2, "")
    assert sentence in err
    assert hint in err
    assert len(err.splitlines()) == 2
    assert not any(elsewhere.iterdir())


def test_a_closed_port(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    code, out, err = command("run", "--base-url", f"127.0.0.1:{port}/v1")
    assert (code, out) == (2, "")
    assert f"Nothing listens at 127.0.0.1:{port} (connection refused)." in err


def test_https_to_a_plain_port(speaks: Callable[[bytes], str], command: Command) -> None:
    url = speaks(http("400 Bad Request", {})).replace("http:", "https:")
    code, _, err = command("run", "--base-url", url)
    assert code == 2
    assert "does not speak TLS" in err


def test_a_model_that_the_server_does_not_have(command: Command, held: HeldServer) -> None:
    code, out, err = command("run", "--base-url", held.url, "--model", "other")
    assert (code, out) == (2, "")
    assert "/v1/completions refuses the model 'other': HTTP 404: no such model" in err
    assert "It serves held; choose with --model." in err


def test_a_path_where_no_api_is(command: Command, held: HeldServer) -> None:
    code, out, err = command("run", "--base-url", held.url + "/elsewhere", "--model", "held")
    assert (code, out) == (2, "")
    assert "/elsewhere/v1" in err


def test_a_server_that_dies_in_the_middle(command: Command, held: HeldServer, elsewhere: Path) -> None:
    held.fails_at = 20
    code, out, err = command(
        *("run", "--base-url", held.url, "--num-prompts", "60", "--request-rate", "200", "--output-len", "5"),
        *("--out", "cut", "--json"),
    )
    assert code == ExitCode.NOT_VALID
    assert err == ""
    (point,) = json.loads(out)["points"]
    assert point["verdict"] == "SERVER_ERRORS"
    outcomes = pq.read_table(elsewhere / "cut" / "records.parquet")["outcome"].to_pylist()
    assert (outcomes.count("ok"), len(outcomes)) == (20, 60)
