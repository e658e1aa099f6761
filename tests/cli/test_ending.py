"""How a command ends: what stands on stdout, the exit code, Ctrl-C once and twice, a pipe that is closed."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loadgen.errors import ExitCode

from .conftest import HeldServer, Started

Command = Callable[..., tuple[int, str, str]]
QUICK = ("--output-len", "5", "--warmup", "none")


def load(url: str, requests: int = 60) -> tuple[str, ...]:
    return ("--base-url", url, "--num-prompts", str(requests), *QUICK)


def test_json_and_nothing_else(held: HeldServer, command: Command) -> None:
    code, out, err = command("run", *load(held.url), "--request-rate", "200", "--json")
    assert err == ""
    summary = json.loads(out)
    assert (summary["kind"], len(summary["points"])) == ("run", 1)
    assert code == (ExitCode.OK if summary["points"][0]["verdict"] == "VALID" else ExitCode.NOT_VALID)


def test_the_reports_of_a_run_are_made_again(held: HeldServer, command: Command, elsewhere: Path) -> None:
    _, out, _ = command("run", *load(held.url), "--request-rate", "200", "--out", "one", "--quiet")
    first = json.loads((elsewhere / "one" / "summary.json").read_text())
    for name in ("summary.json", "report.html", "records.parquet"):
        (elsewhere / "one" / name).unlink()
    code, again, _ = command("report", "one")
    assert code == 0
    assert again == out
    assert json.loads((elsewhere / "one" / "summary.json").read_text()) == first
    assert json.loads(command("report", "one", "--json")[1]) == first
    assert pq.read_table(elsewhere / "one" / "records.parquet").num_rows == 60
    assert "<html" in (elsewhere / "one" / "report.html").read_text()


def test_a_sweep_is_a_folder_of_runs(held: HeldServer, command: Command, elsewhere: Path) -> None:
    _, out, err = command("sweep", *load(held.url, 40), "--rates", "200,400", "--out", "two")
    assert err == ""
    assert [line for line in out.splitlines() if line.startswith("point ")] != []
    assert sorted(path.name for path in (elsewhere / "two").iterdir() if path.is_dir()) == ["01-s2s-200", "02-s2s-400"]
    assert "two/report.html" in out
    summary = json.loads((elsewhere / "two" / "summary.json").read_text())
    assert [point["request_rate"] for point in summary["points"]] == [200, 400]
    assert command("report", "two")[0] == 0
    assert json.loads((elsewhere / "two" / "summary.json").read_text())["points"] == summary["points"]


@pytest.mark.parametrize(("slo", "met"), [("e2el<1h", True), ("e2el<1us", False)])
def test_the_exit_code_of_an_slo(slo: str, met: bool, held: HeldServer, command: Command) -> None:
    arguments = ("run", *load(held.url, 200), "--request-rate", "400", "--slo", slo, "--json")
    code, out, _ = command(*arguments, "--fail-on", "slo")
    (point,) = json.loads(out)["points"]
    assert point["slo"]["met"] is met
    if point["verdict"] == "VALID":
        assert code == (ExitCode.OK if met else ExitCode.THRESHOLD)
    else:
        assert code == ExitCode.NOT_VALID


def test_too_few_requests_are_not_valid(held: HeldServer, command: Command) -> None:
    code, out, _ = command("run", *load(held.url, 3), "--request-rate", "100")
    assert code == ExitCode.NOT_VALID
    assert "too few samples" in out


def test_vllms_file(held: HeldServer, command: Command, elsewhere: Path) -> None:
    command("run", *load(held.url, 20), "--request-rate", "200", "--quiet", "--save-vllm", "vllm.json")
    written = json.loads((elsewhere / "vllm.json").read_text())
    assert (written["completed"], len(written["ttfts"])) == (20, 20)


def test_a_secret_is_written_nowhere(held: HeldServer, elsewhere: Path, start: Callable[..., Started]) -> None:
    started = start(
        *("run", *load(held.url, 20), "--request-rate", "200", "--out", "one", "--api-key", "sesame-1"),
        *("--header", "X-Gate: sesame-2"),
        env=dict(os.environ) | {"OPENAI_API_KEY": "sesame-3"},
    )
    _, out, err = started.end()
    files = [path for path in (elsewhere / "one").rglob("*") if path.is_file()]
    assert len(files) >= 7
    assert "sesame" not in out + err + "".join(path.read_bytes().decode("latin-1") for path in files)


def test_a_reader_that_has_seen_enough(held: HeldServer, start: Callable[..., Started]) -> None:
    """`loadgen … | head -1`: no complaint, and the files are there."""
    started = start("sweep", *load(held.url, 20), "--rates", "200,400", "--out", "two")
    assert started.process.stdout is not None
    started.process.stdout.readline()
    started.process.stdout.close()
    assert started.process.stderr is not None
    assert started.process.stderr.read() == ""
    assert started.process.wait() == 0


def test_interrupted_once_it_drains_and_reports(
    held: HeldServer, start: Callable[..., Started], elsewhere: Path
) -> None:
    started = start("run", "--base-url", held.url, "--request-rate", "100", "--duration", "1h", *QUICK, "--out", "one")
    held.wait_for(finished=30)
    held.gate.clear()
    held.wait_for(arrived=held.arrived + 5)  # these are in flight when the signal comes
    started.signal_all(signal.SIGINT)
    held.gate.set()
    code, out, err = started.end()
    assert code == ExitCode.INTERRUPTED
    assert "Interrupted: this is what was measured until then." in out
    assert err == ""
    summary = json.loads((elsewhere / "one" / "summary.json").read_text())
    assert summary["cut"] is True
    records = pq.read_table(elsewhere / "one" / "records.parquet")
    assert set(records["outcome"].to_pylist()) == {"ok"}
    assert records.num_rows == held.arrived


def test_interrupted_twice_it_leaves(held: HeldServer, start: Callable[..., Started], elsewhere: Path) -> None:
    started = start("run", "--base-url", held.url, "--request-rate", "100", "--duration", "1h", *QUICK, "--out", "one")
    held.wait_for(finished=30)
    held.gate.clear()
    held.wait_for(arrived=held.arrived + 5)
    started.signal_all(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        started.process.wait(0.5)  # the gate stays shut: it waits for the answers
    started.signal_all(signal.SIGINT)
    code, _, _ = started.end()  # and no longer
    assert code == ExitCode.INTERRUPTED
    records = pq.read_table(elsewhere / "one" / "records.parquet")
    outcomes = records["outcome"].to_pylist()
    assert outcomes.count("ok") >= 30
    assert outcomes.count("censored") >= 5


def test_asked_to_end_it_drains_and_reports(held: HeldServer, start: Callable[..., Started], elsewhere: Path) -> None:
    """SIGTERM to the whole group, as `timeout`, systemd and containers send it."""
    started = start("run", "--base-url", held.url, "--request-rate", "100", "--duration", "1h", *QUICK, "--out", "one")
    held.wait_for(finished=30)
    started.signal_all(signal.SIGTERM)
    code, _, err = started.end()
    assert (code, err) == (ExitCode.INTERRUPTED, "")
    assert json.loads((elsewhere / "one" / "summary.json").read_text())["points"][0]["completed"] > 0


def test_a_served_engine_ends_with_its_terminal(start: Callable[..., Started]) -> None:
    started = start("serve", "simulator")
    assert started.process.stdout is not None
    assert started.process.stdout.readline().startswith('{"ready": "http://')
    started.signal_all(signal.SIGINT)
    code, _, err = started.end()
    assert (code, err) == (0, "")
