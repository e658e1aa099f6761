"""Engines one after another: same seed, one failure does not end it, an interruption does; what the page says."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgen.config import SATURATE, SWEEP, Settings, make_settings
from loadgen.errors import BadInputError, EngineError
from loadgen.report.compare import cap_in_words, render_side_by_side, rows_of, sentence_of
from loadgen.side_by_side import is_side_by_side, rewrite_side_by_side, side_by_side


def point(rate: float, *, cap: float | None = None, busy: float = 1.0, verdict: str = "VALID") -> dict[str, Any]:
    return {
        "request_rate": rate,
        "dataset": "s2s",
        "verdict": verdict,
        "p50_ttft_ms": 10.0 * rate,
        "p50_tpot_ms": 5.0,
        "output_throughput": 100 * rate,
        "confidence": {"output_throughput": [90 * rate, 110 * rate], "p50_ttft_ms": [9 * rate, 11 * rate]},
        "effective_concurrency": busy,
        "server": {"cap": cap, "running_max": min(busy, cap) if cap else None},
        "findings": [],
    }


def summary(*points: dict[str, Any], held: float = 8, high: float | None = 16, **target: Any) -> dict[str, Any]:
    stable = {"value": held, "low": held - 1, "high": high}
    return {
        "kind": "sweep",
        "points": list(points),
        "target": target,
        "saturation": {"max_stable_rate": stable, "reason": "the batch is full"},
        "cut": False,
    }


FAST = summary(point(4), point(8, busy=3), name="Fast", version="1.0", command="fast --serve", max_num_seqs=256)
CAPPED = summary(
    point(4, cap=4, busy=3.0),
    point(8, cap=4, busy=90.0, verdict="NOT_STEADY"),
    held=5,
    name="Narrow <b>",
    version="2",
    command="narrow --slots 4",
)


class Played:
    """Measures what it was told to say; remembers how it was asked."""

    def __init__(self, *said: dict[str, Any] | Exception) -> None:
        self.said = list(said)
        self.asked: list[tuple[Settings, Path]] = []

    def __call__(self, settings: Settings, folder: Path) -> dict[str, Any]:
        self.asked.append((settings, folder))
        said = self.said[len(self.asked) - 1]
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def two() -> Settings:
    return make_settings(SWEEP, {"engine": ["simulator --gpu l4", "simulator --gpu h100"]})


def test_each_is_asked_the_same_but_for_its_name(two: Settings, tmp_path: Path) -> None:
    measure = Played(FAST, CAPPED)
    made = side_by_side(two, tmp_path / "both", measure)
    (first, one), (second, other) = measure.asked
    assert (first.engine, second.engine) == ("simulator --gpu l4", "simulator --gpu h100")
    assert first.engines == second.engines == []
    assert first.seed == second.seed == made["seed"]  # drawn once, as none was given
    assert replace(first, engine=None) == replace(second, engine=None)
    assert (one.name, other.name) == ("01-simulator", "02-simulator")
    assert is_side_by_side(tmp_path / "both")
    assert not is_side_by_side(tmp_path)
    assert json.loads((tmp_path / "both" / "summary.json").read_text()) == made


def test_a_seed_that_is_given_stays(two: Settings, tmp_path: Path) -> None:
    measure = Played(FAST, CAPPED)
    side_by_side(replace(two, seed=7), tmp_path / "both", measure)
    assert [settings.seed for settings, _ in measure.asked] == [7, 7]


def test_one_that_fails_does_not_end_the_others(two: Settings, tmp_path: Path) -> None:
    said: list[str] = []
    failed = EngineError("It died: out of memory.", "Not enough memory.\n | last line")
    made = side_by_side(two, tmp_path / "both", Played(failed, FAST), say=said.append)
    assert [bool(engine.get("points")) for engine in made["engines"]] == [False, True]
    assert made["engines"][0]["error"] == "It died: out of memory. Not enough memory."
    assert any("out of memory" in line for line in said)
    page = (tmp_path / "both" / "report.html").read_text()
    assert "did not run" in page
    assert "out of memory" in page
    assert not made["cut"]


def test_an_interruption_ends_it(two: Settings, tmp_path: Path) -> None:
    measure = Played(FAST | {"cut": True}, CAPPED)
    made = side_by_side(two, tmp_path / "both", measure)
    assert len(measure.asked) == 1
    assert made["cut"]


def test_what_cannot_be_started_is_refused_before_anything_is(tmp_path: Path) -> None:
    settings = make_settings(SWEEP, {"engine": ["simulator", "nonsense"]})
    measure = Played()
    with pytest.raises(BadInputError, match="no engine 'nonsense'"):
        side_by_side(settings, tmp_path / "both", measure)
    assert not measure.asked
    assert not (tmp_path / "both").exists()


def test_two_of_a_name_are_told_apart_by_what_was_asked(two: Settings, tmp_path: Path) -> None:
    made = side_by_side(two, tmp_path / "both", Played(FAST, FAST))
    assert [engine["label"] for engine in made["engines"]] == ["Fast 1.0 (--gpu l4)", "Fast 1.0 (--gpu h100)"]
    twice = replace(two, engines=["simulator", "simulator"])
    made = side_by_side(twice, tmp_path / "again", Played(FAST, FAST))
    assert len({engine["label"] for engine in made["engines"]}) == 2


def test_the_rows_show_intervals_caps_and_reasons(two: Settings, tmp_path: Path) -> None:
    fast, narrow = rows_of(side_by_side(two, tmp_path / "both", Played(FAST, CAPPED)))
    assert fast.holds == "8 req/s (7 to 16)"
    assert narrow.holds == "5 req/s (4 to 16)"
    assert (cap_in_words(fast), cap_in_words(narrow)) == ("256", "4, reached at 8")
    assert fast.reason == "the batch is full"
    assert (fast.ttft, narrow.ttft) == ("40 ms", "40 ms")  # at 4 req/s: at 8 one of them was not steady
    assert fast.peak == "800 tok/s (720 to 880)"


def test_a_cap_is_never_taken_for_speed(two: Settings, tmp_path: Path) -> None:
    made = side_by_side(two, tmp_path / "both", Played(FAST, CAPPED))
    said = sentence_of(made)
    assert "Narrow <b> 2 worked on as many requests as it may" in said
    assert "Fast 1.0 worked" not in said


def test_the_page_is_safe_and_whole(two: Settings, tmp_path: Path) -> None:
    page = render_side_by_side(side_by_side(two, tmp_path / "both", Played(FAST, CAPPED)))
    assert "Narrow <b>" not in page
    assert "Narrow &lt;b&gt; 2" in page
    assert "narrow --slots 4" in page
    assert "A colour is an engine" in page
    assert 'href="01-simulator/report.html"' in page
    assert page.count("<figure") == 3  # TTFT, TPOT, output throughput
    assert "http" not in page.split("</style>")[1].split("<script")[0].replace("http-equiv", "")


def test_the_page_of_nothing_is_a_page() -> None:
    assert "</html>" in render_side_by_side({})
    assert rows_of({"engines": [{"label": "x"}, None, 3]})[0].error == "nothing was measured"


def test_it_can_be_made_again(two: Settings, tmp_path: Path) -> None:
    made = side_by_side(two, tmp_path / "both", Played(FAST, EngineError("No.")))
    asked: list[Path] = []

    def again(folder: Path) -> dict[str, Any]:
        asked.append(folder)
        return FAST

    assert rewrite_side_by_side(tmp_path / "both", again) == made
    assert [folder.name for folder in asked] == ["01-simulator"]


def test_one_engine_is_no_comparison_and_a_run_takes_one(tmp_path: Path) -> None:
    config = tmp_path / "five.toml"
    config.write_text('engine = ["simulator", "llama.cpp --max-num-seqs 2"]\nrates = "1,2"\n')
    settings = make_settings(SWEEP, {}, config)
    assert (settings.engine, settings.engines) == (None, ["simulator", "llama.cpp --max-num-seqs 2"])
    settings = make_settings(SWEEP, {"engine": ["simulator"]}, config)  # a flag is stronger
    assert (settings.engine, settings.engines) == ("simulator", [])
    with pytest.raises(BadInputError, match="takes one --engine"):
        make_settings("run", {"engine": ["simulator", "vllm"]})
    with pytest.raises(BadInputError, match="exclude each other"):
        make_settings(SWEEP, {"engine": ["simulator", "vllm"], "base_url": "http://x"})


def test_searches_side_by_side(tmp_path: Path) -> None:
    """One search an engine; `loadgen report` makes both and the comparison again."""
    fixed = "simulator --ttft-ms 2 --itl-ms 1 --max-num-seqs"
    command = [sys.executable, "-m", "loadgen", "saturate", "--engine", f"{fixed} 1", "--engine", f"{fixed} 4"]
    words = ("--dataset", "random", "--input-len", "8", "--output-len", "4", "--budget", "2s", "--seed", "1")
    done = subprocess.run(
        [*command, *words, "--out", "two", "--quiet"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 3), done.stderr  # 3: two seconds are too few to be sure
    made = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert [row["kind"] for row in made["engines"]] == ["saturate"] * 2
    assert all("max_stable_rate" in row["saturation"] for row in made["engines"])
    assert "simulator" in done.stdout
    assert "at the rates of its own search" in (tmp_path / "two" / "report.html").read_text()
    again = subprocess.run(
        [sys.executable, "-m", "loadgen", "report", "two", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [row["saturation"] for row in json.loads(again.stdout)["engines"]] == [
        row["saturation"] for row in made["engines"]
    ]


def test_a_search_of_several_is_resumed_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--resume goes on with the search of one --engine"):
        make_settings(SATURATE, {"engine": ["simulator", "llama.cpp"], "resume": str(tmp_path)})
