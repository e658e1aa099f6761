"""`sweep --rates auto`: where the points go, and the whole of it once over sockets."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import BadInputError, ExitCode
from loadgen.saturate import conducting, placing

from .conftest import CAPACITY, LOAD

Command = Callable[..., tuple[int, str, str]]


def found(stable: float | None, within: float | None = None, seen: float | None = None) -> dict[str, Any]:
    rates = {"max_stable_rate": {"value": stable}, "max_goodput_rate": None if within is None else {"value": within}}
    probes = [{"counts": seen is not None, "throughput": {"value": seen}}]
    return {"saturation": rates, "answer": "Nothing completed.", "probes": probes}


def test_most_points_are_near_the_answer() -> None:
    rates = [float(each) for each in placing.placed(found(200.0)).split(",")]
    assert rates == [20, 50, 100, 140, 160, 180, 194, 210, 260]


def test_an_slo_has_points_on_both_sides() -> None:
    rates = [float(each) for each in placing.placed(found(200.0, 120.0)).split(",")]
    assert {108.0, 120.0, 132.0} <= set(rates)
    assert rates == sorted(set(rates))


def test_without_a_capacity_the_plateau_stands_in() -> None:
    assert placing.placed(found(None, seen=100.0)).startswith("10,25,50,")


def test_without_anything_seen_there_is_nothing_to_place() -> None:
    with pytest.raises(BadInputError, match=r"No rates could be placed\. Nothing completed\."):
        placing.placed(found(None))


def test_a_sweep_placed_by_a_search(
    simulator: str, command: Command, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits_of = conducting.limits_of
    monkeypatch.setattr(conducting, "limits_of", lambda s: dataclasses.replace(limits_of(s), shortest_ns=0.6e9))
    monkeypatch.setattr(placing, "BUDGET_NS", 6_000_000_000)
    monkeypatch.setattr(placing, "SHARES", (0.25, 1.3))
    load = (*LOAD, "--base-url", simulator, "--duration", "1s", "--out", "s")
    code, out, err = command("sweep", "--rates", "auto", *load)
    assert code in (ExitCode.OK, ExitCode.NOT_VALID), err
    summary = json.loads((elsewhere / "s" / "summary.json").read_text())
    rates = [point["request_rate"] for point in summary["points"]]
    assert rates[1] / rates[0] == pytest.approx(1.3 / 0.25, rel=0.02)
    # Six seconds on a machine that others use: near enough to show that the search was asked, no measurement.
    assert rates[0] / 0.25 == pytest.approx(CAPACITY, rel=0.5)
    assert (elsewhere / "s" / placing.FOLDER / "probes.jsonl").exists()
    assert "Report: s/report.html" in out


def test_several_datasets_have_no_one_answer(command: Command) -> None:
    code, _, err = command("sweep", "--rates", "auto", "--dataset", "all")
    assert code == ExitCode.USAGE
    assert "A search has one dataset" in err
