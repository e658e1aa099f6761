"""What is kept of a calibration, where, and when it warns."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.ceiling import PLACE, cache_path, check_place, keep, known, machine, warning
from loadgen.config import RUN, SWEEP, Settings
from loadgen.errors import BadInputError

LIMITED = {"limited_by": "client", "seen": "x"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache" / "calibration.json"
    monkeypatch.setenv(PLACE, str(path))
    path.parent.mkdir()
    return path


def calibrated(**most: Any) -> dict[str, Any]:
    return {"machine": machine()} | {name: {"value": value} | LIMITED for name, value in most.items()}


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path() == tmp_path / "loadgen" / "calibration.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_path() == tmp_path / "home" / ".cache" / "loadgen" / "calibration.json"
    monkeypatch.setenv(PLACE, "elsewhere.json")
    assert cache_path() == Path("elsewhere.json")


@pytest.mark.parametrize("content", [None, "", "no json", "[]", '{"machine": {"cores": 0}}', "{}"])
def test_what_is_not_of_this_machine_is_not_known(place: Path, content: str | None) -> None:
    if content is not None:
        place.write_text(content)
    assert known() is None
    assert warning(SWEEP, Settings(rates="1..100000")) is None


def test_a_sweep_that_asks_for_more_is_warned(place: Path) -> None:
    keep(calibrated(requests_per_s=50, events_per_s=1e6, streams=100))
    assert known() == json.loads(place.read_text())
    told = warning(SWEEP, Settings(rates="1..64"))
    assert told is not None
    assert told.startswith("Warning: this asks for up to 64 req/s (seen to hold: 50) of this client.")
    assert warning(SWEEP, Settings(rates="1..32")) is None
    assert warning(SWEEP, Settings(rates="inf")) is None


def test_output_tokens_count_with_the_answers_length(place: Path) -> None:
    keep(calibrated(requests_per_s=1e6, events_per_s=1000))
    settings = Settings(request_rate="ramp:1..20/60s", dataset="random", input_len="8", output_len="100")
    told = warning(RUN, settings)
    assert told is not None
    assert "2,000 output tokens/s (seen to hold: 1,000)" in told
    settings.extra_body = {"stream": False}
    assert warning(RUN, settings) is None
    assert warning(RUN, Settings(max_concurrency=4)) is None


def test_streams_at_once(place: Path) -> None:
    keep(calibrated(streams=100))
    told = warning(RUN, Settings(max_concurrency=200))
    assert told is not None
    assert "200 requests at once (seen to hold: 100)" in told


@pytest.mark.parametrize("limited_by", [None, "server"])
def test_a_limit_that_was_not_the_clients_warns_of_nothing(place: Path, limited_by: str | None) -> None:
    keep(calibrated() | {"requests_per_s": {"value": 50, "limited_by": limited_by}})
    assert warning(SWEEP, Settings(rates="64")) is None


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is a folder"):
        check_place(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="Cannot write to"):
        check_place(tmp_path / "file" / "calibration.json")
    check_place(tmp_path / "new" / "calibration.json")
    assert (tmp_path / "new").is_dir()
