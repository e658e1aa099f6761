"""Between two loads the server comes to rest, also one that goes on with requests whose client has left."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen import sweep
from loadgen.cli.main import run_command
from loadgen.engines import rest
from loadgen.engines.asking import Asker
from loadgen.engines.launch import launch_simulator
from loadgen.engines.rest import Rest
from loadgen.target import parse_target
from loadgen.units import NS_PER_MS, NS_PER_S

# Capacity 200 req/s: at 800 some 600 requests are left after a second, three seconds of work.
SERVER = ("--style", "mii", "--ttft-ms", "12", "--itl-ms", "2", "--max-num-seqs", "4")
LOAD = ("--dataset", "random", "--input-len", "8", "--output-len", "5", "--seed", "1", "--warmup", "none")


class Server:
    """Answers a tiny request after `answer_ms`, of which the last stays; its clock is the only one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answer_ms: float) -> None:
        self._answer_ms, self.now_ns = list(answer_ms), 0
        monkeypatch.setattr(rest, "time", self)

    def ask(self, *_: object, **__: object) -> tuple[int, bytes]:
        self.now_ns += round(self._answer_ms[0] * NS_PER_MS)
        if len(self._answer_ms) > 1:
            del self._answer_ms[0]
        return 200, b""

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)


def disturbed(server: Any) -> Rest:
    made = Rest(server, "/v1/completions", b"{}")
    made.disturb()
    return made


def test_a_tiny_request_as_fast_as_on_the_idle_server_is_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, 40, 30, 30, 500, 200, 44)
    made = disturbed(server)
    assert made.wait(10 * NS_PER_S) is None
    assert server.now_ns == round(0.944 * NS_PER_S)  # all of them, and two pauses
    assert made.wait(10 * NS_PER_S) is None
    assert server.now_ns == round(0.944 * NS_PER_S)  # nobody has disturbed it since


def test_a_server_that_has_become_slower_is_waited_for_half_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, 30, 30, 30, 70)
    assert disturbed(server).wait(10 * NS_PER_S) is None
    assert 5 * NS_PER_S < server.now_ns < 6 * NS_PER_S


def test_one_that_does_not_come_to_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    unrest = disturbed(Server(monkeypatch, 30, 30, 30, 200)).wait(10 * NS_PER_S)
    assert unrest is not None
    assert unrest.seen == "a tiny request takes 200 ms, and took 30 ms at first"
    assert unrest.waited_ns < 11 * NS_PER_S


def test_asked_once_and_not_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, 30, 30, 30, 70)
    made = disturbed(server)
    assert made.wait(NS_PER_S, lambda: True) is None
    assert made.wait(0) is not None
    assert server.now_ns == 160 * NS_PER_MS


def test_one_that_is_gone_is_not_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PAUSE_S", 0.0)
    unrest = disturbed(Asker(parse_target("http://127.0.0.1:9"), {})).wait(1)
    assert unrest is not None
    assert unrest.seen == "a tiny request is not answered, and took 1 s at first"


def swept(folder: Path, rates: str) -> list[dict[str, Any]]:
    with launch_simulator([*SERVER], folder / "simulator.log") as launched:
        more = ("--rates", rates, "--duration", "1s", "--drain", "0s", "--out", str(folder / "sweep"))
        run_command(["sweep", "--base-url", launched.base_url, *LOAD, *more])
    points: list[dict[str, Any]] = json.loads((folder / "sweep" / "summary.json").read_text())["points"]
    return points


def test_a_load_begins_when_the_server_has_done_what_the_one_before_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without that nothing of the second load would have been answered."""
    _, light = swept(tmp_path, "800,40")
    assert light["completed"] > 20
    assert light["p50_ttft_ms"] < 100
    assert "still busy" not in capsys.readouterr().err


def test_one_that_had_to_begin_earlier_says_so_and_so_does_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "REST_LIMIT_NS", NS_PER_S // 100)
    _, light, _ = swept(tmp_path, "800,40,700")
    assert light["verdict"] == "NOT_STEADY"
    said = next(each["seen"] for each in light["findings"] if each["code"] == "NOT_AT_REST")
    assert said.startswith("The server was still busy when this load began: a tiny request takes ")
    assert (
        "Warning: the server is still busy with requests that were let go: a tiny request " in capsys.readouterr().err
    )
