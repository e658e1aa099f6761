"""Engines from start to stop, played by forty lines: ready, dying, deaf, late, and never leaving an orphan."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.engines import starting
from loadgen.engines.failures import FAILURES, explain, last_lines
from loadgen.engines.guard import __file__ as guard_script
from loadgen.engines.starting import launch_engine, plan_engine
from loadgen.errors import BadInputError, EngineError

SCRIPT = """
import json, sys
at = lambda flag: sys.argv[sys.argv.index(flag) + 1]
if "--refuse" in sys.argv:
    print(json.dumps({"error": "No.", "hint": "Why not."}))
elif "--broken" in sys.argv:
    sys.exit("what a pity")
else:
    print(json.dumps({
        "engine": "played", "name": "Played", "version": "1.2", "torch": "", "warnings": ["It is a play."],
        "command": [sys.executable, %r, *sys.argv[1:]], "env": {"PLAYED": "yes"}, "ready": "/health",
        "host": "127.0.0.1", "port": int(at("--port")), "model": at("--model"), "device": "cpu",
        "max_num_seqs": 4, "max_model_len": 100,
    }))
"""

SERVER = """
import json, os, signal, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
at = lambda flag: sys.argv[sys.argv.index(flag) + 1]
if "--die" in sys.argv:
    print(at("--die").replace("|", chr(10)), file=sys.stderr)
    sys.exit(3)
if "--killed" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
if "--deaf" in sys.argv:  # to SIGTERM, and with a child in a session of its own
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "--deaf" in sys.argv
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=deaf)
print("pids", os.getpid(), child.pid, flush=True)
if "--silent" in sys.argv:
    signal.pause()

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.tell(200, {})
    def do_POST(self):
        if "--dies-at-first" in sys.argv:
            print("torch.OutOfMemoryError: CUDA out of memory.", file=sys.stderr, flush=True)
            os._exit(1)
        chat = "chat" in self.path
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = asked["model"] == at("--model") and (chat or "--chat-only" not in sys.argv) and "--bad" not in sys.argv
        why = "DefaultCPUAllocator: can't allocate memory: 9 bytes." if "--full" in sys.argv else "not like this"
        self.tell(200 if good else 400, {"error": {"message": why}})
    def tell(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(at("--port"))), Answers).serve_forever()
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., starting.Plan]:
    """The plan of the played engine with these words."""
    server, script = tmp_path / "server.py", tmp_path / "script.py"
    server.write_text(SERVER)
    script.write_text(SCRIPT % str(server))
    monkeypatch.setattr(starting, "script_of", lambda _: script)

    def plan(*words: str) -> starting.Plan:
        return plan_engine("vllm", ["--model", "m", *words])

    return plan


def pids_in(log: Path) -> list[int]:
    line = next(line for line in log.read_text().splitlines() if line.startswith("pids"))
    return [int(word) for word in line.split()[1:]]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_is_ready_when_it_has_given_a_token_and_gone_when_it_is_stopped(
    play: Callable[..., starting.Plan], tmp_path: Path
) -> None:
    said: list[str] = []
    log = tmp_path / "engine.log"
    with launch_engine(play("--chat-only"), log, said.append) as engine:
        pids = pids_in(log)
        assert all(map(is_alive, pids))
        assert engine.about["max_num_seqs"] == 4
        assert engine.about["version"] == "1.2"
        assert engine.about["ready_s"] >= 0
    assert not any(map(is_alive, pids))
    assert any("It is a play." in line for line in said)
    assert any("is ready after" in line for line in said)


def test_one_that_does_not_listen_is_killed_with_its_children(
    play: Callable[..., starting.Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tmp_path / "guard.py"
    quick.write_text(Path(guard_script).read_text().replace("KIND_S = 10.0", "KIND_S = 0.3"))
    monkeypatch.setattr(starting, "guard_script", str(quick))
    log = tmp_path / "engine.log"
    with launch_engine(play("--deaf"), log):
        pids = pids_in(log)
    assert not any(map(is_alive, pids))


def test_when_loadgen_is_killed_the_engine_goes_too(tmp_path: Path) -> None:
    """The end of the guard's stdin is all that is left of a parent that was killed."""
    body = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    guard = subprocess.Popen(
        [sys.executable, guard_script, sys.executable, "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    pid = int(guard.stdout.readline())
    assert is_alive(pid)
    guard.stdin.close()
    assert guard.wait(30) == 0
    guard.stdout.close()
    assert not is_alive(pid)


def test_a_crash_takes_what_it_had_started_along(tmp_path: Path) -> None:
    body = (
        "import subprocess, sys, os; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen(
        [sys.executable, guard_script, sys.executable, "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as guard:
        assert guard.stdout is not None
        pid = int(guard.stdout.readline())
        assert guard.wait(30) == 128 + signal.SIGKILL
    assert not is_alive(pid)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, guard_script, str(tmp_path / "none")], capture_output=True, text=True, check=False, input=""
    )
    assert done.returncode == 127
    assert "No such file" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        ("Traceback|torch.OutOfMemoryError: CUDA out of memory. Tried", "CUDA out of memory", "--max-model-len"),
        ("ModuleNotFoundError: No module named 'xgrammar'", "No module named", "The package xgrammar is missing"),
        ("OSError: /x does not appear to have a file named config.json", "config.json", "cannot read the model"),
        ("api_server.py: error: unrecognized arguments: --foo", "--foo", "does not know --foo"),
        ("RuntimeError: it is Monday", "it is Monday", "| RuntimeError"),
    ],
)
def test_one_that_dies_while_loading_says_why(
    play: Callable[..., starting.Plan], tmp_path: Path, words: str, sentence: str, hint: str
) -> None:
    with pytest.raises(EngineError) as raised:
        launch_engine(play("--die", words), tmp_path / "engine.log")
    assert str(raised.value).startswith("Played 1.2 ended while it was loading (exit code 3): ")
    assert sentence in str(raised.value)
    assert hint in raised.value.hint
    assert words.rpartition("|")[2] in raised.value.hint  # its last lines


def test_one_that_dies_of_its_first_request(play: Callable[..., starting.Plan], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="out of memory") as raised:
        launch_engine(play("--dies-at-first"), tmp_path / "engine.log")
    assert "lower --gpu-memory-utilization" in raised.value.hint


def test_one_that_is_killed_while_loading_says_who_may_have_done_it(
    play: Callable[..., starting.Plan], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"^Played 1\.2 was killed while it was loading \(signal 9\)\.$") as raised:
        launch_engine(play("--killed"), tmp_path / "engine.log")
    assert "the machine's memory ran out" in raised.value.hint


def test_one_that_has_no_memory_for_its_first_request(play: Callable[..., starting.Plan], tmp_path: Path) -> None:
    """It is up and stays up: the reason is in its answer."""
    with pytest.raises(EngineError, match=r"refuses its first request.*can't allocate memory: 9 bytes\.$") as raised:
        launch_engine(play("--bad", "--full"), tmp_path / "engine.log")
    assert "Not enough memory" in raised.value.hint


def test_one_that_refuses_its_first_request(play: Callable[..., starting.Plan], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"refuses its first request \(HTTP 400\): not like this"):
        launch_engine(play("--bad"), tmp_path / "engine.log")
    assert not any(map(is_alive, pids_in(tmp_path / "engine.log")))


def test_one_that_is_never_ready(play: Callable[..., starting.Plan], tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with pytest.raises(EngineError, match=r"was not ready after 0\.7 s") as raised:
        launch_engine(play("--silent", "--ready-timeout", "700ms"), log)
    assert "--ready-timeout" in raised.value.hint
    assert "pids" not in log.read_text() or not any(map(is_alive, pids_in(log)))


def test_a_port_that_is_taken_is_said_before_anything_is_started(
    play: Callable[..., starting.Plan], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"cannot have port {port} on 127.0.0.1: address already in use"):
            launch_engine(play("--port", str(port)), tmp_path / "engine.log")
    assert not (tmp_path / "engine.log").exists()


def test_an_address_that_is_nobodys(play: Callable[..., starting.Plan], tmp_path: Path) -> None:
    plan = play()
    plan.script["host"] = "203.0.113.7"  # kept for documentation
    with pytest.raises(EngineError, match=r"cannot have port \d+ on 203\.0\.113\.7: cannot assign requested address\."):
        launch_engine(plan, tmp_path / "engine.log")


def test_what_a_script_refuses_and_a_script_that_breaks(play: Callable[..., starting.Plan]) -> None:
    with pytest.raises(EngineError, match=r"^No\.$") as refused:
        play("--refuse")
    assert refused.value.hint == "Why not."
    with pytest.raises(BadInputError, match="what a pity"):
        play("--broken")
    with pytest.raises(EngineError, match="Cannot run /no/python"):
        play("--python", "/no/python")
    with pytest.raises(EngineError, match="it is a folder") as folder:
        play("--python", str(Path(sys.executable).parent))
    assert "bin/python" in folder.value.hint
    for port in ("x", "65536", "-1", "²"):
        with pytest.raises(BadInputError, match=f"'{port}' is not a port"):
            play(f"--port={port}")


def test_what_the_script_wants_set_is_only_a_default(
    play: Callable[..., starting.Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = play()
    assert starting._environment(plan)["PLAYED"] == "yes"
    monkeypatch.setenv("PLAYED", "as I like it")
    assert starting._environment(plan)["PLAYED"] == "as I like it"
    assert os.environ["PLAYED"] == "as I like it"


# --- the table of failures --------------------------------------------------------------------------------------------

LINES = (  # what engines wrote, and a word of what is made of it
    ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "memory"),
    ("ValueError: Free memory on device cuda:0 (3.1/139.7 GiB) on startup is less than desired GPU memory", "memory"),
    ("ValueError: Available memory on node 0 (16/19 GiB) on kv cache allocation is less than requested memory", "mem"),
    ("ggml_backend_buft_alloc_buffer_n_default: failed to allocate CPU buffer of size 8193572864", "memory"),
    ("ValueError: Failed to create llama_context", "--max-model-len"),
    ("OSError: [Errno 98] Address already in use", "--port"),
    ("srv: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8000", "--port"),
    ("RuntimeError: Failed to infer device type, please set the environment variable", "GPU"),
    ("importlib.metadata.PackageNotFoundError: No package metadata was found for vllm", "vllm is missing"),
    ("llama_model_load: error loading model: tensor 'output.weight' data is not within the file bounds", "model"),
    ("OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.", "CUDA_HOME"),
    ("error: invalid argument: --no-ui", "--no-ui"),
    ("ImportError: libcudart.so.13: cannot open shared object file", "libcudart.so.13"),
)


@pytest.mark.parametrize(("line", "word"), LINES)
def test_what_engines_wrote_is_understood(line: str, word: str) -> None:
    told, hint = explain(["INFO loading", line, "INFO cleaning up"], 1)
    assert told in line
    assert word in hint


def test_every_row_of_the_table_was_seen() -> None:
    import re

    every = [line for line, _ in LINES] + [
        "OSError: x does not appear to have a file named config.json",
        "error: unrecognized arguments: --foo",
    ]
    assert all(any(re.search(failure.pattern, line) for line in every) for failure in FAILURES)


def test_without_a_known_line_the_last_telling_one_stands() -> None:
    assert explain(["a", "KeyError: 'x'", '  File "y"', "bye"], 1) == ("KeyError: 'x'", "")
    assert explain(["a", "bye"], 1) == ("bye", "")
    above = "RuntimeError: Engine core initialization failed. See root cause above."
    assert explain(["ValueError: the cause", above], 1) == ("ValueError: the cause", "")
    assert explain([], 1) == ("", "")
    assert "killed from outside" in explain(["loading"], 137)[1]


def test_only_the_end_is_shown_and_no_line_is_endless() -> None:
    shown = last_lines([f"line {number}" for number in range(100)] + ["", "x" * 1000]).splitlines()
    assert len(shown) == 8
    assert shown[0].endswith("line 93")
    assert all(len(line) < 220 for line in shown)


def test_json_of_about_is_plain(play: Callable[..., starting.Plan]) -> None:
    """It goes into the summary as it is."""
    about = play().about
    assert json.loads(json.dumps(about)) == about
    assert "--port" in about["command"]
