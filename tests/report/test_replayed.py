"""What the HTML report says of a replay, and that it says nothing of anything else."""

import re
from typing import Any

from loadgen.report.markup import join
from loadgen.report.replayed import replay_tables


def minute(k: int, ttft_ms: float | None = 20.0) -> dict[str, Any]:
    return {
        "start_s": 60.0 * k,
        "due": 100 + k,
        "sent": 100 + k,
        "completed": 99,
        "p50_ttft_ms": ttft_ms,
        "p99_ttft_ms": None if ttft_ms is None else 10 * ttft_ms,
        "p50_e2el_ms": 500.0,
        "p99_e2el_ms": 900.0,
    }


def told(**given: Any) -> dict[str, Any]:
    minutes = given.pop("minutes", [minute(k, 20.0 + k) for k in range(5)])
    return {
        "replay": {
            "trace": "<t>.jsonl",
            "format": "Mooncake",
            "mode": "causal",
            "speed": 1.0,
            "sessions": 0,
            "requests": 510,
            "sent": 510,
            "late_p50_ms": 0.1,
            "late_p99_ms": 1.0,
            "late_max_ms": 2.0,
            "faithful": True,
            "faults": [],
            "rows_treated": {"cut": 3},
            "done_to_it": ["2 copies"],
            "hit_rate_ideal": 0.374,
            "hit_rate_observed": 0.2,
            "minutes": minutes,
            "worst": sorted(minutes, key=lambda each: -(each["p99_ttft_ms"] or 0))[:2],
        }
        | given
    }


def shown(point: dict[str, Any]) -> str:
    return str(join(replay_tables(point)))


def plain(point: dict[str, Any]) -> str:
    return re.sub(r"<[^>]*>", "|", shown(point))


def test_a_point_that_is_no_replay_has_nothing() -> None:
    assert replay_tables({}) == []


def test_what_was_replayed_and_how() -> None:
    text = plain(told())
    assert "&lt;t&gt;.jsonl (Mooncake)" in text
    assert "510 of 510 requests" in text
    assert "37.4 % at best, the server&#x27;s own count 20 %" in text.replace("&#39;", "&#x27;").replace("'", "&#x27;")
    assert "3 rows: cut; 2 copies" in text
    assert "none recorded" in text
    assert "as recorded" in text
    assert "|yes|" in text


def test_what_is_not_known_is_said_or_left_out() -> None:
    assert "the server does not say its own" in plain(told(hit_rate_observed=None))
    assert "prefix hit rate" not in plain(told(hit_rate_ideal=None))
    assert "no: 2 requests were not sent" in plain(told(faithful=False, faults=["2 requests were not sent"]))
    assert "10 times as fast" in plain(told(speed=10.0, sessions=3))
    assert "3, replayed causal" in plain(told(sessions=3))


def test_the_worst_minutes_and_a_curve_stand_where_there_are_minutes() -> None:
    text = shown(told())
    assert "TTFT by minute" in text
    assert re.findall(r'<th scope="row">(\d+ min)', text) == ["4 min", "3 min"]
    for few in ([], [minute(0)], [minute(0), minute(1)]):
        assert "minute" not in shown(told(minutes=few))


def test_the_lateness_of_every_request_is_drawn_with_what_is_beyond_the_promise() -> None:
    lateness = {"upto_ms": [1.0, 2.0, 5.0, 10.0, None], "requests": [90, 6, 1, 2, 1], "promised_ms": 5.0}
    assert "Lateness of every request" in shown(told(lateness=lateness))
    assert "later than 5 ms: 3" in plain(told(lateness=lateness))
    assert "later than 5 ms: 0" in plain(told(lateness=lateness | {"requests": [100, 0, 0, 0, 0]}))
    assert "Lateness" not in shown(told(lateness=lateness | {"requests": [0, 0, 0, 0, 0]}))


def test_a_short_replay_has_its_one_chart_beside_its_facts() -> None:
    lateness = {"upto_ms": [0.05, 0.1, 1.0, 5.0, 10.0, None], "requests": [0, 0, 60, 5, 0, 0], "promised_ms": 5.0}
    short, long = (shown(told(lateness=lateness, minutes=[minute(k) for k in range(n)])) for n in (1, 4))
    assert 'class="side"' in short
    assert 'class="side"' not in long
    assert "50 µs" not in short  # it begins where there is something
    assert "100 µs" in short


def test_minutes_in_which_nothing_was_answered_are_gaps() -> None:
    assert "TTFT by minute" in shown(told(minutes=[minute(0), minute(1, None), minute(2), minute(3)]))
