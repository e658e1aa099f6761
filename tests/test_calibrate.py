"""The ladders with rungs that are scripted, and one rung of the real thing."""

from pathlib import Path
from typing import Any

import pytest

from loadgen import calibrate
from loadgen.calibrate import Heard, Rung, bench_of_this_machine, climb, gave_way, stamp_errors
from loadgen.exchange import Outcome

MS = 1_000_000


def heard(rung: Rung, **more: Any) -> Heard:
    """A rung on which everything went well, but for `more`."""
    well = Heard(
        due_ns=[k * MS for k in range(rung.requests)],
        lags_ns=[MS // 10] * rung.requests,
        last_done_ns=round(rung.lasts_s * 1e9),
        outcomes={Outcome.OK: rung.requests},
        cpu=[0.2] * 10,
        parent_cpu=0.2,
        server={"late_p50_ns": 0.2 * MS, "cpu_fraction": 0.2},
    )
    for name, value in more.items():
        setattr(well, name, value)
    return well


RUNG = Rung(100, 2, 10.0, 1.0)


@pytest.mark.parametrize(
    ("more", "who", "words"),
    [
        ({"cpu": [0.1] * 2 + [0.95] * 7}, "client", "its load process used 95 %"),
        ({"parent_cpu": 0.97}, "client", "its decoding process used 97 %"),
        ({"server": {"late_p50_ns": 0.0, "cpu_fraction": 0.99}}, "server", "the null server used 99 %"),
        ({"server": {"late_p50_ns": 7.0 * MS, "cpu_fraction": 0.1}}, "server", "wrote 7 ms late in the median"),
        ({"outcomes": {Outcome.OK: 99, Outcome.CLIENT_ERROR: 1}}, "client", "1 of 100 requests did not end well"),
        ({"lags_ns": [9 * MS] * 100}, "client", "requests left up to 9 ms late (p99)"),
        ({"last_done_ns": 3_010 * MS}, "client", "answers ended 2 s late"),
    ],
)
def test_what_gave_way_and_whose_it_was(more: dict[str, Any], who: str, words: str) -> None:
    found = gave_way(RUNG, heard(RUNG, **more))
    assert found is not None
    assert found[0] == who
    assert words in found[1]


def test_nothing_gave_way_and_one_pause_is_forgiven() -> None:
    assert gave_way(RUNG, heard(RUNG)) is None
    stop = [max(0, 60 - k) * MS if k < 60 else 0 for k in range(100)]  # we stood still for 60 ms, from the first on
    assert gave_way(RUNG, heard(RUNG, lags_ns=stop)) is None
    assert gave_way(RUNG, heard(RUNG, lags_ns=[6 * MS if k % 10 == 0 else 0 for k in range(100)])) is not None


class Scripted:
    """A bench on which each rung goes as told: "held", "late" (once, noise) or "spent"."""

    def __init__(self, **script: list[str]) -> None:
        self.script = {int(value.removeprefix("at")): how for value, how in script.items()}
        self.asked: list[int] = []

    def run(self, rung: Rung) -> tuple[Heard, Path]:
        self.asked.append(rung.requests)
        how = self.script[rung.requests].pop(0)
        more: dict[str, Any] = {"held": {}, "late": {"lags_ns": [9 * MS] * rung.requests}, "spent": {"cpu": [0.9] * 9}}[
            how
        ]
        return heard(rung, **more), Path()


def climbed(**script: list[str]) -> tuple[dict[str, Any], list[int]]:
    bench = Scripted(**script)
    values = tuple(sorted(bench.script))
    found = climb(bench, values, lambda value: Rung(value, 1, 0.0, 1.0), lambda _: None)  # type: ignore[arg-type]
    return found, bench.asked


def test_the_ladder_ends_where_a_core_is_used_up() -> None:
    found, asked = climbed(at100=["held"], at200=["held"], at400=["spent"], at800=["held"])
    assert (found["value"], found["limited_by"]) == (200, "client")
    assert asked == [100, 200, 400]
    assert found["load_process_us"] == pytest.approx(0.2 / 200 * 1e6)


def test_noise_is_tried_again_and_passed_over() -> None:
    found, asked = climbed(at100=["late", "held"], at200=["late", "late"], at400=["held"], at800=["held"])
    assert (found["value"], found["limited_by"], found["seen"]) == (800, None, None)
    assert asked == [100, 100, 200, 200, 400, 800]
    assert [each["held"] for each in found["tried"]] == [True, False, True, True]


def test_two_rungs_in_a_row_end_it() -> None:
    found, asked = climbed(at100=["held"], at200=["late"] * 2, at400=["late"] * 2, at800=["held"])
    assert (found["value"], found["limited_by"]) == (100, "client")
    assert found["seen"] == "requests left up to 9 ms late (p99)"
    assert asked[-1] == 400


def test_the_real_thing_on_its_lowest_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All answers come whole, and the stamps are those that the server wrote."""
    monkeypatch.setattr(calibrate, "RUNG_S", 0.2)
    with bench_of_this_machine() as bench:
        found, _ = bench.run(Rung(30, 5, 5.0, 0.1))
        assert found.outcomes == {Outcome.OK: 30}
        assert set(found.server) == {"late_p50_ns", "cpu_fraction"}
        error = stamp_errors(bench)
    assert error["events"] == 20 * 40
    assert 0 < error["p50_ms"] < 5
