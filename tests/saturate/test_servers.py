"""The whole command against servers of known capacity: what it finds, what it writes down, how it goes on."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import ExitCode
from loadgen.saturate import searched
from loadgen.search import journal
from loadgen.search.search import Limits, answer_of

from .conftest import CAPACITY, LOAD, Searching

Search = Callable[..., Searching]
Command = Callable[..., tuple[int, str, str]]


LOUD = [each for each in LOAD if each != "--quiet"]


def killed_at_the_third_probe(search: Search, url: str, budget: str) -> None:
    begun = search(*LOUD, "--base-url", url, "--budget", budget, "--out", "s")
    begun.until_probe(3)
    begun.process.kill()
    begun.process.wait()


def summary_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


@pytest.mark.truth
@pytest.mark.parametrize(("server", "tolerance"), [("simulator", 0.06), ("known_server", 0.03)])
def test_the_capacity_is_found_and_every_decision_is_written_down(
    server: str, tolerance: float, request: pytest.FixtureRequest, search: Search, command: Command, elsewhere: Path
) -> None:
    url = request.getfixturevalue(server)
    code, said = search(*LOAD, "--base-url", url, "--budget", "14s", "--out", "s").rest()
    summary = summary_of(elsewhere / "s")
    found = summary["saturation"]["max_stable_rate"]
    assert code == ExitCode.OK, said
    assert found["value"] == pytest.approx(CAPACITY, rel=tolerance), "the simulator is Python, and late when we are"
    assert found["low"] <= CAPACITY * 1.01
    assert found["high"] >= CAPACITY * (1 - tolerance)
    assert "Saturates at" in said

    entries = journal.read(elsewhere / "s")
    assert [each["run"] for each in summary["probes"]] == [each.run for each in entries]
    assert all((elsewhere / "s" / each.run / "records.parquet").exists() for each in entries)
    header = json.loads((elsewhere / "s" / searched.HEADER).read_text())
    again = answer_of([(each.probe, each.judged) for each in entries], Limits(**header["limits"]))
    assert again.stable is not None
    assert again.stable.value == found["value"], "the journal alone gives the answer"

    (elsewhere / "s" / "summary.json").unlink()
    code, out, err = command("report", "s")
    assert (code, err) == (0, "")
    assert summary_of(elsewhere / "s")["saturation"]["max_stable_rate"] == found
    assert "report.html" in out


NOBODY = "http://127.0.0.1:9"  # where nothing listens


def test_killed_and_resumed(simulator: str, search: Search, command: Command, elsewhere: Path) -> None:
    # What the kill costs comes out of the budget, and a busy machine needs more of it to be sure.
    killed_at_the_third_probe(search, simulator, "16s")
    before = journal.read(elsewhere / "s")
    assert len(before) >= 3
    with (elsewhere / "s" / journal.JOURNAL).open("ab") as torn:
        torn.write(b'{"run": "04-clo')
    code, _, err = command("saturate", "--resume", "s", "--quiet", "--base-url", NOBODY)
    assert code == ExitCode.USAGE, "something is left to be measured"
    assert "Nothing listens at 127.0.0.1:9" in err

    code, said = search("--resume", "s", "--quiet", "--base-url", simulator).rest()
    after = journal.read(elsewhere / "s")
    assert code == ExitCode.OK, said
    assert after[: len(before)] == before
    assert len(after) > len(before)
    summary = summary_of(elsewhere / "s")
    assert summary["saturation"]["max_stable_rate"]["value"] == pytest.approx(CAPACITY, rel=0.1)
    assert summary["cut"] is False

    (elsewhere / "s" / "report.html").unlink()
    code, out, err = command("saturate", "--resume", "s", "--base-url", NOBODY)
    assert code == ExitCode.OK, "nothing is left to be measured: nobody is asked"
    assert "The search in s has its answer: nothing is left to be measured." in err
    assert "Saturates at" in out
    assert summary_of(elsewhere / "s") == summary
    assert (elsewhere / "s" / "report.html").exists()
    assert journal.read(elsewhere / "s") == after
    code, _, err = command("saturate", "--resume", "s", "--budget", "99s", "--base-url", NOBODY)
    assert code == ExitCode.USAGE
    assert "was begun with another --budget." in err


def test_a_search_that_another_version_began_goes_on(
    simulator: str, search: Search, command: Command, elsewhere: Path
) -> None:
    """Its probes stay as they are; `report` reads it as before."""
    killed_at_the_third_probe(search, simulator, "8s")
    path = elsewhere / "s" / journal.JOURNAL
    path.write_bytes(path.read_bytes().replace(b',"against":null', b"").replace(b'"width":0.06', b'"width":0.07'))
    before = journal.read(elsewhere / "s")

    code, said = search("--resume", "s", "--quiet", "--base-url", simulator).rest()
    after = journal.read(elsewhere / "s")
    assert code in (ExitCode.OK, ExitCode.NOT_VALID), said
    assert after[: len(before)] == before
    assert len(after) > len(before)
    summary = summary_of(elsewhere / "s")
    assert summary["cut"] is False
    assert "Another version" in summary["notes"][0]

    assert command("saturate", "--resume", "s", "--quiet", "--base-url", NOBODY)[0] == code
    assert journal.read(elsewhere / "s") == after, "what another version began and finished is left as it is"


def test_ctrl_c_reports_what_is_known_and_how_to_go_on(simulator: str, search: Search, elsewhere: Path) -> None:
    searching = search(*LOUD, "--base-url", simulator, "--budget", "10s", "--out", "s")
    searching.until_probe(2)
    searching.process.send_signal(signal.SIGINT)
    code, said = searching.rest()
    assert code == ExitCode.INTERRUPTED
    assert "Interrupted: this is what was measured until then." in said
    assert "loadgen saturate --resume s" in said
    summary = summary_of(elsewhere / "s")
    assert summary["cut"] is True
    assert len(summary["probes"]) >= 2


def test_a_server_that_goes_away(tmp_path: Path, search: Search, elsewhere: Path) -> None:
    from loadgen.engines.launch import launch_simulator

    with launch_simulator(["--ttft-ms", "12", "--itl-ms", "2", "--max-num-seqs", "4"], tmp_path / "log") as launched:
        searching = search(*LOUD, "--base-url", launched.base_url, "--budget", "10s", "--out", "s")
        searching.until_probe(1)
    code, said = searching.rest()
    assert code == ExitCode.USAGE
    assert "Nothing listens at" in said
    assert len(journal.read(elsewhere / "s")) >= 1
