"""Every finding can be had, says its numbers, and leads to the verdict it should; one pause of the machine does not."""

import re
from typing import Any

import numpy as np
import pytest
from made import MS, plan, record, run, telemetry

from loadgen.analysis.data import RunData
from loadgen.analysis.findings import FINDINGS, Code, Severity, finding
from loadgen.analysis.summary import summarise
from loadgen.analysis.verdict import VERDICTS, verdict_of

LATENESS = "simulator:lateness_seconds_p99"
N = 1000  # requests, one every 10 ms unless said otherwise


def rows(
    lag_ms: Any = 0.0, ttft_ms: float = 20.0, gap_ms: float = 10.0, n: int = N, **given: Any
) -> list[dict[str, Any]]:
    """n good requests; `lag_ms` one number or one per request; further columns as functions of k or as values."""
    lags = np.broadcast_to(lag_ms, n)
    made = []
    for k in range(n):
        due, sent = gap_ms * k, gap_ms * k + float(lags[k])
        more = {key: value(k) if callable(value) else value for key, value in given.items()}
        tokens = [sent + ttft_ms, sent + ttft_ms + 5, sent + ttft_ms + 10]
        made.append(record(k, due, issued_ms=sent, **({"tokens_ms": tokens, "input_tokens": 10} | more)))
    return made


def stall(at_ms: float, for_ms: float, gap_ms: float = 10.0, n: int = N) -> Any:
    """The lag of each request when we stood still once: what was due then left at its end."""
    due = gap_ms * np.arange(n)
    return np.where((due >= at_ms) & (due < at_ms + for_ms), at_ms + for_ms - due, 0.0)


def failing(share: float, outcome: str = "http_error", detail: str = "503 overloaded") -> dict[str, Any]:
    bad = round(1 / share)
    return {"outcome": lambda k: "ok" if k % bad else outcome, "detail": lambda k: "" if k % bad else detail}


def client(name: str, *values: float) -> Any:
    """One reading every 100 ms from the start of the run."""
    return telemetry((0.1 * k, "client", name, value) for k, value in enumerate(values))


def judged(data: RunData, code: Code | None = None) -> tuple[str, dict[str, str] | None]:
    """The verdict, and the finding of that code."""
    point = summarise(data)
    return point["verdict"], next((each for each in point["findings"] if each["code"] == code), None)


def bunched() -> list[dict[str, Any]]:
    """Constant rate in the plan, ten at a time on the wire, for 100 s."""
    return rows(lag_ms=1000.0 * (9 - np.arange(N) % 10), gap_ms=1000.0 / 10 * 10, n=N)


CASES: list[tuple[Code, RunData, str, tuple[str, ...]]] = [
    (Code.CLIENT_LAG, run(rows(lag_ms=8.0)), "CLIENT_LIMITED", ("p99 8 ms", "28 ms")),
    (Code.CLIENT_HICCUP, run(rows(lag_ms=stall(3000, 90))), "VALID", ("A pause", "90 ms", "9 of 1000")),
    (Code.CLIENT_CPU, run(rows(), telemetry=client("cpu_fraction", *[0.5] * 30, *[0.9] * 60)), "CLIENT_LIMITED",
     ("90 %",)),
    (Code.CLIENT_UNSENT, run(rows(n=990), planned=plan(np.arange(N) * 10 * MS), manifest={"ended_ns": 10**11}),
     "CLIENT_LIMITED", ("10 of 1000",)),
    (Code.CLIENT_RESOURCES, run(rows(**failing(0.05, "client_error", "too many open files"))), "CLIENT_LIMITED",
     ("50 requests", "too many open files")),
    (Code.READ_DELAY, run(rows(stamp_source="user"), telemetry=client("loop_lag_max_ns", *[9e6] * 100)),
     "CLIENT_LIMITED", ("9 ms",)),
    (Code.STAMPS_OFF, run(rows(), telemetry=client("canary_error_ns", *[3e7] * 50)), "CLIENT_LIMITED", ("30 ms",)),
    (Code.GC_PAUSE, run(rows(), telemetry=client("gc_pause_max_ns", 0, 2.5e7, 0)), "VALID", ("25 ms",)),
    (Code.RATE_NOT_HELD, run(rows(lag_ms=np.arange(N) * 0.5, ttft_ms=1e6)), "CLIENT_LIMITED", ("req/s",)),
    (Code.DISPERSION, run(bunched()), "CLIENT_LIMITED", ("1 s", "9.01; the plan has 0")),
    (Code.SERVER_ERRORS, run(rows(**failing(0.05))), "SERVER_ERRORS",
     ("50 of 1000", "50 http error", "503 overloaded")),
    (Code.OUTPUT_LENGTH, run(rows(planned_output_tokens=lambda k: 5 if k < 50 else 3)), "VALID", ("5 %", "3.1")),
    (Code.INPUT_LENGTH, run(rows(planned_input_tokens=8)), "VALID", ("100 %", "10 tokens", "8 in the plan")),
    (Code.MULTI_TOKEN_EVENTS, run(rows(token_counts=[1, 2, 1])), "VALID", ("33.3 %",)),
    (Code.EMPTY_EVENTS, run(rows(empty_events=1)), "VALID", ("1000 events",)),
    (Code.TOKENS_ASKED, run(rows(token_source=lambda k: "asked" if k < 990 else "usage")), "VALID",
     ("no usage", "990 of 1000")),
    (Code.TOKENS_ESTIMATED,
     run(rows(token_source=lambda k: "events" if k < 10 else "asked", finish_reason="stop")),
     "VALID", ("no usage", "10 of 1000")),
    (Code.RETRIES, run(rows(retries=lambda k: k % 2)), "VALID", ("500 requests",)),
    (Code.CENSORED, run(rows(outcome=lambda k: "censored" if k > 989 else "ok")), "VALID", ("10 of 1000",)),
    (Code.NOT_AT_REST, run(rows(), {"unrest": "it takes 2 s"}), "NOT_STEADY", ("it takes 2 s.",)),
    (Code.CUT_RUN, run(rows(), {"cut": True, "ended_ns": 12 * 10**9}), "VALID", ("12 s",)),
    (Code.SIMULATOR_LATE,
     run(rows(), telemetry=telemetry([(1, "server", LATENESS, 0.02)])),
     "VALID", ("20 ms",)),
    (Code.CLOCK_STEP, run(rows(), telemetry=client("clock_step_ns", 0, 5e8)), "VALID", ("0 requests", "500 ms")),
    (Code.FEW_SAMPLES, run(rows(n=10)), "TOO_FEW_SAMPLES", ("10 requests", "even a median", "11")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "data", "verdict", "numbers"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_finding_says_its_numbers_and_leads_to_its_verdict(
    code: Code, data: RunData, verdict: str, numbers: tuple[str, ...]
) -> None:
    found_verdict, found = judged(data, code)
    assert found is not None
    assert found_verdict == verdict
    for each in numbers:
        assert each in found["seen"]
    assert found["meaning"].endswith(".")
    assert found["try_next"].endswith(".")


@pytest.mark.parametrize(
    ("tokens", "severity", "meaning"),
    [
        (3, "info", "Their events say the same."),
        (lambda k: 3 + (k % 10 == 0), "info", "3.23 % of their tokens had no event of their own: they shared one, "),
        (4, "warning", "25 % of their tokens had no event of their own: they shared one, "),
    ],
)
def test_what_the_events_of_answers_say_that_count_as_asked(tokens: Any, severity: str, meaning: str) -> None:
    """Three events an answer."""
    found = judged(run(rows(token_source="asked", output_tokens=tokens)), Code.TOKENS_ASKED)[1]
    assert found is not None
    assert found["severity"] == severity
    assert found["meaning"].startswith(meaning)


def test_a_run_without_fault_has_no_finding() -> None:
    point = summarise(run(rows()))
    assert point["verdict"] == "VALID"
    assert point["findings"] == []


def test_every_code_has_its_sentences_and_every_other_test_here_or_elsewhere_reaches_it() -> None:
    assert set(FINDINGS) == set(Code)
    elsewhere = {Code.CAP_HELD, Code.SATURATED, Code.MAYBE_SATURATED, Code.NO_PLATEAU}  # test_flow, test_steady, below
    elsewhere.add(Code.SHORT_RUN)  # test_short_run
    assert {case[0] for case in CASES} | elsewhere == set(Code)


@pytest.mark.parametrize(
    ("lag_ms", "ttft_ms", "limited"),
    [
        (4.9, 20, False),  # below what matters
        (8.0, 20, True),
        (8.0, 2000, False),  # 8 ms in 2 s: below 1 %
        (stall(3000, 99), 20, False),  # one hiccup
        (stall(3000, 250), 20, True),  # that was no hiccup
        (stall(3000, 90) + stall(5000, 90) + stall(7000, 90), 20, True),  # again and again
        (stall(3000, 80) + stall(5000, 30), 20, False),  # a second one, too small for p99
    ],
)
def test_one_pause_is_forgiven_and_being_late_is_not(lag_ms: Any, ttft_ms: float, limited: bool) -> None:
    verdict, found = judged(run(rows(lag_ms=lag_ms, ttft_ms=ttft_ms)), Code.CLIENT_LAG)
    assert (verdict == "CLIENT_LIMITED") is limited
    assert (found is not None) is limited


def test_a_few_failures_are_told_and_do_not_spoil_the_run() -> None:
    verdict, found = judged(run(rows(**failing(0.005))), Code.SERVER_ERRORS)
    assert found is not None
    assert (verdict, found["severity"]) == ("VALID", "warning")


def test_kernel_stamps_make_read_delay_harmless() -> None:
    late = client("loop_lag_max_ns", *[9e6] * 100)
    assert judged(run(rows(stamp_source="kernel"), telemetry=late), Code.READ_DELAY) == ("VALID", None)


def test_one_answer_that_the_kernel_did_not_stamp_condemns_no_run() -> None:
    late = client("loop_lag_max_ns", *[9e6] * 100)
    some = rows(stamp_source="kernel")
    for number, row in enumerate(some[200:300]):
        row["stamp_source"] = "user"
        _, found = judged(run(some, telemetry=late), Code.READ_DELAY) if number in (0, 99) else (None, None)
        assert (found is not None) is (number == 99)


def test_a_busy_moment_is_not_a_busy_client() -> None:
    """Two seconds at 100 % are less than 85 % over five."""
    busy = client("cpu_fraction", *[0.3] * 40, *[1.0] * 20, *[0.3] * 40)
    assert judged(run(rows(), telemetry=busy), Code.CLIENT_CPU) == ("VALID", None)


def test_stamps_that_run_backwards_spoil_the_run() -> None:
    broken = rows()
    for row in broken[::50]:
        row["last_token_ns"] = row["done_ns"] + 10**9
    verdict, found = judged(run(broken), Code.CLOCK_STEP)
    assert found is not None
    assert verdict == "CLIENT_LIMITED"
    assert "20 requests" in found["seen"]


def test_a_slower_half_is_no_plateau() -> None:
    rng = np.random.default_rng(0)
    pace = np.where(np.arange(N) < N / 2, 5.0, 9.0) * rng.uniform(0.9, 1.1, N)
    slower = rows(tokens_ms=lambda k: [10 * k + 20, 10 * k + 20 + pace[k]])
    verdict, found = judged(run(slower, {"request_rate": 100.0}), Code.NO_PLATEAU)
    assert verdict == "NOT_STEADY"
    assert found is not None
    assert re.search(r"TPOT went from (4\.9|5)\S* ms to (8\.9|9)\S* ms at one moment", found["seen"])
    replayed, nothing = judged(run(slower, {"request_rate": None}), Code.NO_PLATEAU)
    assert (replayed, nothing) == ("VALID", None)  # a rate that changes by plan has no plateau to lose


def test_the_gravest_verdict_is_said_first() -> None:
    kinds = [finding(Code.FEW_SAMPLES, Severity.WARNING, completed=1, which="", needed=2, duration="")]
    assert verdict_of(kinds) == "TOO_FEW_SAMPLES"
    kinds.append(finding(Code.SATURATED, achieved=1, offered=2, backlog=3))
    assert verdict_of(kinds) == "NOT_STEADY"
    kinds.append(finding(Code.SERVER_ERRORS, failed=1, requests=2, outcomes="", detail=""))
    assert verdict_of(kinds) == "SERVER_ERRORS"
    kinds.append(finding(Code.CLIENT_CPU, cpu="99 %"))
    assert verdict_of(kinds) == "CLIENT_LIMITED"
    assert list(VERDICTS) == ["CLIENT_LIMITED", "SERVER_ERRORS", "NOT_STEADY", "TOO_FEW_SAMPLES"]
    assert verdict_of([]) == "VALID"
