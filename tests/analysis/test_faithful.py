"""Was a replay faithful: lateness against the moment a request could go, lengths, what was not sent, minutes."""

import re
from typing import Any

import numpy as np
import pytest
from made import MS, S, plan, record, run, telemetry

from loadgen.analysis.faithful import MINUTES_MAX, in_words
from loadgen.analysis.findings import FINDINGS, TRY_REPLAYING, Code
from loadgen.analysis.summary import summarise
from loadgen.config import OPTIONS, REPLAY

TOLD: dict[str, Any] = {"trace": "t.jsonl", "format": "Mooncake", "hit_rate_ideal": None, "rows_treated": {}}


def replayed(rows: list[dict[str, Any]], planned: Any = None, telemetry: Any = None, **manifest: Any) -> dict[str, Any]:
    planned = planned or plan([row["due_ns"] for row in rows])
    found = summarise(run(rows, {"replay": TOLD, **manifest}, planned=planned, telemetry=telemetry))
    return dict(found["replay"])


def answered(index: int, due_ms: float, issued_ms: float | None = None, **given: Any) -> dict[str, Any]:
    at = due_ms if issued_ms is None else issued_ms
    lengths = {"planned_input_tokens": 10, "input_tokens": 10, "planned_output_tokens": 2}
    return record(index, due_ms, issued_ms=at, tokens_ms=[at + 20, at + 50], **(lengths | given))


def test_a_replay_on_time_is_faithful_and_says_what_it_was_told() -> None:
    found = replayed([answered(k, 100.0 * k) for k in range(200)])
    assert (found["faithful"], found["faults"]) == (True, [])
    assert (found["requests"], found["sent"], found["late_max_ms"]) == (200, 200, 0)
    assert found["lateness"]["requests"] == [200, *[0] * 12]
    assert found["trace"] == "t.jsonl"
    assert in_words(found).startswith("Replayed 200 requests as recorded, at most 0")


@pytest.mark.parametrize(("late", "faithful"), [(1, True), (3, False)])
def test_more_than_one_percent_late_is_not_faithful(late: int, faithful: bool) -> None:
    """Of 200, one or three went 30 ms late; the 99th percentile lies between the second and third largest."""
    rows = [answered(k, 100.0 * k, 100.0 * k + (30 if k < late else 0.5)) for k in range(200)]
    found = replayed(rows)
    assert found["faithful"] is faithful
    assert found["late_p50_ms"] == pytest.approx(0.5)
    assert found["late_max_ms"] == pytest.approx(30)
    assert found["late_p99_ms"] == pytest.approx(np.quantile([30.0] * late + [0.5] * (200 - late), 0.99))


def test_every_request_is_counted_by_how_late_it_was() -> None:
    found = replayed([answered(k, 100.0 * k, 100.0 * k + late) for k, late in enumerate((0.04, 3.0, 5.0, 5.1, 5000.0))])
    told = found["lateness"]
    assert dict(zip(told["upto_ms"], told["requests"], strict=True)) == dict.fromkeys(told["upto_ms"], 0) | {
        0.05: 1,
        5.0: 2,
        10.0: 1,
        None: 1,
    }


def test_who_waits_for_a_slow_answer_is_not_late() -> None:
    """A turn is due at 100 ms, but what it follows ends at 500 and the user thinks for 50."""
    after = np.array([-1, 0])
    planned = plan([0, 100 * MS], after=after, think_ns=np.array([0, 50 * MS]))
    rows = [record(0, 0.0, tokens_ms=[20, 500]), answered(1, 100.0, 551.5)]
    found = replayed(rows, planned)
    assert found["late_max_ms"] == pytest.approx(1.5)
    rows[1] = answered(1, 100.0, 560.0)
    assert replayed(rows, planned)["late_max_ms"] == pytest.approx(10)


def test_an_agent_waits_for_the_last_of_its_sub_agents() -> None:
    planned = plan([0, 0, 100 * MS], after=np.array([-1, -1, 0]), joins=((2, 1),))
    rows = [record(0, 0.0, tokens_ms=[20, 200]), record(1, 0.0, tokens_ms=[20, 900]), answered(2, 100.0, 903.0)]
    assert replayed(rows, planned)["late_max_ms"] == pytest.approx(3)


def test_lengths_that_are_not_the_traces_and_rows_never_sent_are_faults() -> None:
    rows = [answered(k, 100.0 * k, input_tokens=11 if k < 5 else 10) for k in range(100)]
    found = replayed(rows, plan([100 * MS * k for k in range(102)]))
    assert found["faults"] == ["2 requests were not sent", "5 % of the input lengths are not the trace's"]
    assert in_words(found).startswith("The replay was not faithful: 2 requests were not sent; 5 % of")
    rows = [answered(k, 100.0 * k, planned_output_tokens=3 if k < 5 else 2) for k in range(100)]
    assert replayed(rows)["faults"] == ["5 % of the output lengths are not the trace's"]


def test_minutes_hold_what_was_due_sent_and_answered_in_them() -> None:
    """Three minutes of 60, 120 and 30 requests; the last 20 of the second go in the third."""
    rows = []
    for minute, n in enumerate((60, 120, 30)):
        for k in range(n):
            due = 60_000 * minute + 60_000 * k / n
            late = minute == 1 and k >= 100
            rows.append(answered(len(rows), due, 120_000.0 + k if late else due))
    rows[5]["outcome"] = "http_error"
    found = replayed(rows, ended_ns=180 * S)
    minutes = found["minutes"]
    assert [each["start_s"] for each in minutes] == [0, 60, 120]
    assert [each["due"] for each in minutes] == [60, 120, 30]
    assert [each["sent"] for each in minutes] == [60, 100, 50]
    assert [each["completed"] for each in minutes] == [59, 120, 30]
    assert minutes[0]["p50_ttft_ms"] == pytest.approx(20)
    assert minutes[0]["p99_e2el_ms"] == pytest.approx(50)
    first = 120_100 - (60_000 + 60_000 * 100 / 120) + 20  # the longest wait of the late ones, less 1 % on the way there
    assert first * 0.9 < minutes[1]["p99_ttft_ms"] < first
    assert next(each["start_s"] for each in found["worst"]) == 60
    assert "Worst minute: from 1 min on" in in_words(found)


def test_the_minutes_of_a_long_replay_are_longer() -> None:
    rows = [answered(k, 3_600_000.0 * k) for k in range(9)]
    minutes = replayed(rows, ended_ns=8 * 3600 * S + S)["minutes"]
    width_s = minutes[1]["start_s"]
    assert width_s % 60 == 0
    assert len(minutes) <= MINUTES_MAX
    assert sum(each["due"] for each in minutes) == 9


def test_a_run_that_was_killed_before_it_sent_anything_has_a_section() -> None:
    found = replayed([], plan([0, S]), cut=True)
    assert (found["sent"], found["faithful"]) == (0, False)
    assert found["worst"] == []
    assert "2 requests were not sent" in in_words(found)


def test_hit_rates_are_told_when_both_are_known() -> None:
    found = replayed([answered(k, 100.0 * k) for k in range(3)])
    assert "hit rate" not in in_words(found)
    counted = [
        (second, "server", f"vllm:prefix_cache_{what}_total", step * second)
        for second in range(5)
        for what, step in (("hits", 10 if second < 3 else 20), ("queries", 100))
    ]  # the last of the answers come after the last due time, 0.2 s, and count
    assert replayed(
        [answered(k, 100.0 * k, done_ms=4000.0) for k in range(3)], telemetry=telemetry(counted), ended_ns=4 * S
    )["hit_rate_observed"] == pytest.approx(80 / 400)
    assert "Prefix hit rate 25.0 % of an ideal 50.0 %." in in_words(
        found | {"hit_rate_ideal": 0.5, "hit_rate_observed": 0.25}
    )


@pytest.mark.parametrize("code", FINDINGS)
def test_a_replay_is_advised_what_it_can_do(code: Code) -> None:
    usual = FINDINGS[code][3]
    advice = TRY_REPLAYING.get(code, usual)
    assert set(re.findall(r"--[a-z-]+", advice)) <= {each.flag for each in OPTIONS if REPLAY in each.commands}
    assert set(re.findall(r"{\w+}", advice)) <= set(re.findall(r"{\w+}", usual))
    assert not re.search(r"[Ll]ower the rate|[Rr]un longer|warm-up", advice)


def test_the_advice_to_a_replay_names_its_own_options() -> None:
    rows = [answered(k, 100.0 * k) for k in range(20)]
    few = {
        name: next(
            each["try_next"]
            for each in summarise(run(rows, manifest, planned=plan([row["due_ns"] for row in rows])))["findings"]
            if each["code"] == Code.FEW_SAMPLES
        )
        for name, manifest in (("run", {}), ("replay", {"replay": TOLD}))
    }
    assert few["run"].startswith("Run longer: at this rate about ")
    assert few["replay"].startswith("Replay more of the trace (a longer --window, or --loop): at this rate about ")
    assert "try_replaying" not in str(few)
