"""`loadgen capture` as a program: what is typed wrong, an upstream that is not there yet, and a killed proxy."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

UPSTREAM = ("--upstream", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--upstream"),
        (("--upstream", "ftp://x"), "not an http or https URL"),
        ((*UPSTREAM, "--listen", "here"), "is not an address"),
        ((*UPSTREAM, "--listen", "127.0.0.1:80000"), "is not an address"),
        ((*UPSTREAM, "--listen", "nobody.invalid:80"), "no such host"),
        ((*UPSTREAM, "--listen", "192.0.2.1:9001"), "cannot assign requested address"),
        ((*UPSTREAM, "--block", "0"), "at least 1 token"),
        ((*UPSTREAM, "--block", "x"), "not a whole number"),
        ((*UPSTREAM, "--out", "there", "--listen", "127.0.0.1:0"), "exists already"),
        ((*UPSTREAM, "--out", "file/below", "--listen", "127.0.0.1:0"), "Cannot make the folder"),
    ],
)
def test_bad_input_is_one_sentence(command, elsewhere: Path, arguments: tuple[str, ...], words: str) -> None:
    (elsewhere / "there").mkdir()
    (elsewhere / "file").write_text("")
    code, out, err = command("capture", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert sorted(path.name for path in elsewhere.iterdir()) == ["file", "there"]  # nothing is left behind


def test_a_port_in_use_is_said_and_leaves_no_folder(command, elsewhere: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = command("capture", *UPSTREAM, "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--out", "c")
    assert code == 2
    assert "address already in use" in err
    assert not (elsewhere / "c").exists()


class Upstream:
    """The simulator and a proxy in front of it, as a user starts them."""

    def __init__(self, out: str) -> None:
        loadgen = [sys.executable, "-m", "loadgen"]
        serve = [*loadgen, "serve", "simulator", "--ttft-ms", "1", "--itl-ms", "1", "--exit-with-stdin"]
        self.server = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.upstream = self._url(self.server)
        capture = [*loadgen, "capture", "--upstream", self.upstream, "--listen", "127.0.0.1:0", "--out", out]
        self.proxy = subprocess.Popen(capture, stdout=subprocess.PIPE, text=True)
        self.url = self._url(self.proxy)

    @staticmethod
    def _url(process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]*\d", process.stdout.readline())
        assert found is not None
        return found.group(0)

    def ask(self, tokens: int) -> dict[str, Any]:
        body = json.dumps({"prompt": [1, 2, 3], "max_tokens": tokens}).encode()
        asked = urllib.request.Request(f"{self.url}/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.loads(answer.read())

    def __enter__(self) -> "Upstream":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.proxy, self.server):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def test_a_killed_proxy_loses_at_most_its_last_second(command, elsewhere: Path) -> None:
    with Upstream("c") as b:
        ended_s = []
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 2.5:
            b.ask(1 + len(ended_s) % 9)
            ended_s.append(time.monotonic())
        b.proxy.kill()
        killed_s = time.monotonic()
        b.proxy.wait()
    old = sum(each < killed_s - 1 for each in ended_s)
    head, *rows = (elsewhere / "c" / "trace.jsonl").read_bytes().split(b"\n")
    whole = [json.loads(row) for row in rows[:-1]]  # the last line may be cut
    assert len(whole) >= old > 0
    assert [row["output_tokens"] for row in whole] == [1 + k % 9 for k in range(len(whole))]
    assert json.loads(head)["loadgen_trace"] == 1
    manifest = json.loads((elsewhere / "c" / "capture.json").read_text())
    assert manifest["clean"] is False
    code, out, _ = command("trace", "inspect", "c/trace.jsonl")
    assert code == 0
    assert f"{len(whole):,}" in out


def test_an_upstream_that_is_not_there_yet_is_said_and_served_when_it_is(elsewhere: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    words = [sys.executable, "-m", "loadgen", "capture", "--upstream", f"http://127.0.0.1:{port}", "--out", "c"]
    process = subprocess.Popen(
        [*words, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "Ctrl-C ends it" in process.stdout.readline()
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "0 requests recorded" in out
    assert "connection refused" in err
    assert "502" in err
