"""What the tests of the command line share: bad servers, a server that the test holds, the command itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from loadgen.cli.main import run_command

PATIENCE_S = 90  # what is waited for comes in a fraction of a second; a loaded machine gets longer
LOAD_TOKENS = 5  # output tokens of the load's requests: it tells them from the probes, which ask for fewer


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test stands in a folder of its own and has no key from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "CI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_command(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def speaks() -> Iterator[Callable[[bytes], str]]:
    """A server that gives every connection the same bytes and hangs up; its base URL."""
    with ExitStack() as stack:

        def listen(words: bytes) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=_speak, args=(listener, words))
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield listen


def _speak(listener: socket.socket, words: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the test is over
        with connection:
            connection.recv(1 << 16)
            connection.sendall(words)


class HeldServer:
    """An OpenAI-compatible server whose every answer waits for the gate, and which tells the test what it does.

    `finished` has the time of each answer to a request of the load. `fails_at` is the first request of the load that
    gets no answer: from there on the connection is closed.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.finished: list[float] = []
        self.arrived = 0
        self.fails_at: int | None = None
        self._changed = threading.Condition()
        outer = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                known = self.path == "/v1/models"
                self._whole(200 if known else 404, {"data": [{"id": "held"}]} if known else {})

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/completions":
                    self._whole(404, {"error": {"message": "no such path"}})
                elif request["model"] != "held":
                    self._whole(404, {"error": {"message": "no such model"}})
                elif request["max_tokens"] < LOAD_TOKENS:
                    outer.answer(self, request)
                else:
                    outer.answer_load(self, request)

            def _whole(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence."""

        class Listener(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that went away is what some tests are about."""

        self._listener = Listener(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answer_load(self, connection: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        """A request of the load: counted, held, answered, noted."""
        with self._changed:
            number = self.arrived
            self.arrived += 1
            self._changed.notify_all()
        self.gate.wait()
        if self.fails_at is not None and number >= self.fails_at:
            connection.close_connection = True
            return
        self.answer(connection, request)
        with self._changed:
            self.finished.append(monotonic())
            self._changed.notify_all()

    def answer(self, connection: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        """One token an event, or all of them at once."""
        prompt, n = request["prompt"], request["max_tokens"]
        usage = {"prompt_tokens": len(prompt.split()) if isinstance(prompt, str) else len(prompt)}
        usage["completion_tokens"] = n
        choices = [{"index": 0, "text": " a", "finish_reason": "length" if k == n - 1 else None} for k in range(n)]
        if request.get("stream"):
            events = [{"choices": [choice]} for choice in choices] + [{"choices": [], "usage": usage}]
            body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events) + b"data: [DONE]\n\n"
            kind = "text/event-stream"
        else:
            body = json.dumps({"choices": [choices[-1] | {"text": " a" * n}], "usage": usage}).encode()
            kind = "application/json"
        connection.send_response(200)
        connection.send_header("Content-Type", kind)
        connection.send_header("Content-Length", str(len(body)))
        connection.end_headers()
        connection.wfile.write(body)

    def wait_for(self, *, arrived: int = 0, finished: int = 0) -> None:
        """Until so many requests of the load have come, or have been answered."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.arrived >= arrived and len(self.finished) >= finished, PATIENCE_S
            ), f"{self.arrived} requests came and {len(self.finished)} were answered"

    def close(self) -> None:
        self.gate.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


@pytest.fixture
def held() -> Iterator[HeldServer]:
    server = HeldServer()
    yield server
    server.close()


class Started:
    """The command as a process of its own, in a process group as a terminal gives it one."""

    def __init__(self, arguments: tuple[str, ...], **how: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadgen", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **how,
        )

    def signal_all(self, kind: signal.Signals) -> None:
        """What a terminal does on Ctrl-C: every process of the group gets it."""
        os.killpg(self.process.pid, kind)

    def children(self) -> list[int]:
        """Of all generations."""
        found, new = [], [self.process.pid]
        while new:
            threads = Path(f"/proc/{new.pop()}/task").glob("*/children")
            born = [int(pid) for thread in threads for pid in thread.read_text().split()]
            found += born
            new += born
        return found

    def end(self) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) once it has ended by itself."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Start a command; what is left of it when the test ends is killed."""
    with ExitStack() as stack:

        def begin(*arguments: str, **how: Any) -> Started:
            started = Started(arguments, **how)
            stack.enter_context(started.process)
            stack.callback(started.process.kill)
            return started

        yield begin
