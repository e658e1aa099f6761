"""`loadgen calibrate` as it is typed: what it prints, where it keeps, what a run says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen import calibrate as measuring
from loadgen.ceiling import PLACE, machine

Command = Callable[..., tuple[int, str, str]]

FOUND: dict[str, Any] = {
    "machine": machine(),
    "events_per_s": {"value": 64000, "limited_by": "server", "seen": "the null server used 99 % of a core",
                     "tried": [{"asked": 64000, "held": True}, {"asked": 128000, "held": False}]},
    "requests_per_s": {"value": 1, "limited_by": "client", "seen": "its load process used 90 % of a core",
                       "tried": [{"asked": 2, "held": False}]},
    "streams": {"value": 4000, "limited_by": None, "seen": None, "tried": [{"asked": 4000, "held": True}]},
    "stamp_error": {"p50_ms": 0.003, "p99_ms": 0.03, "max_ms": 0.1, "events": 100},
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measure(say: Callable[[str, str], None]) -> dict[str, Any]:
        say("streams", "4,000: held")
        return FOUND

    monkeypatch.setattr(measuring, "calibrate", measure)
    monkeypatch.setenv(PLACE, str(tmp_path / "kept.json"))


def test_the_screen_says_whose_limit_it_is(command: Command, tmp_path: Path) -> None:
    code, out, err = command("calibrate")
    assert code == 0
    assert "64,000 /s       or more: at 128,000 the null server used 99 % of a core" in out
    assert "1 /s       at 2 its load process used 90 % of a core" in out
    assert "4,000 at once  and nothing gave way" in out
    assert "30 µs at p99" in out
    assert "streams at once, 4,000: held" in err
    assert json.loads((tmp_path / "kept.json").read_text()) == FOUND


def test_json_is_alone_on_stdout(command: Command, tmp_path: Path) -> None:
    code, out, err = command("calibrate", "--json", "--out", str(tmp_path / "sub" / "c.json"))
    assert (code, err) == (0, "")
    assert json.loads(out) == FOUND == json.loads((tmp_path / "sub" / "c.json").read_text())


def test_a_run_that_asks_for_more_is_warned(command: Command) -> None:
    assert command("calibrate", "--quiet")[0] == 0
    arguments = ("run", "--request-rate", "20", "--num-prompts", "3", "--dataset", "random", "--input-len", "4",
                 "--output-len", "2", "--engine", "simulator --ttft-ms 1 --itl-ms 1")  # fmt: skip
    assert "Warning: this asks for up to 20 req/s (seen to hold: 1)" in command(*arguments)[2].replace("\n", " ")
    assert "Warning: this asks" not in command(*arguments, "--quiet")[2]


def test_bad_input(command: Command, tmp_path: Path) -> None:
    code, out, err = command("calibrate", "--out", str(tmp_path))
    assert (code, out) == (2, "")
    assert "is a folder" in err
    assert command("calibrate", "--fast")[0] == 2
