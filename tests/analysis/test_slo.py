"""The SLO's grammar, and who met it: failures stay in the denominator."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MS, record, run

from loadgen.analysis.metrics import NAMES
from loadgen.analysis.slo import MLPERF, Clause, parse_slo
from loadgen.analysis.summary import summarise
from loadgen.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "metric", "statistic", "limit_ms", "share"),
    [
        ("ttft_p99=500ms", "ttft", "p99", 500, 0.99),
        ("TPOT_P99.9 < 50ms", "tpot", "p99.9", 50, 0.99),
        ("e2el_mean<=2s", "e2el", "mean", 2000, 0.99),
        ("itl_median=20ms", "itl", "p50", 20, 0.99),
        ("ttft_send_p90=1s", "ttft_send", "p90", 1000, 0.99),
        ("e2el<2s@95%", "e2el", "each", 2000, 0.95),
        ("e2el < 2 s".replace(" s", "s"), "e2el", "each", 2000, 0.99),
        ("ttft:500", "ttft", "each", 500, 0.99),
        ("ttft:1.5s", "ttft", "each", 1500, 0.99),
    ],
)
def test_a_clause_is_read(text: str, metric: str, statistic: str, limit_ms: float, share: float) -> None:
    (clause,) = parse_slo(text).clauses
    assert (clause.metric, clause.statistic, clause.limit_ns / MS, clause.share) == (metric, statistic, limit_ms, share)


@pytest.mark.parametrize("text", ["ttft:500 tpot:50", "ttft:500,tpot:50", " ttft:500 ,\ttpot:50 "])
def test_clauses_may_be_separated_as_vllm_does(text: str) -> None:
    assert [each.metric for each in parse_slo(text).clauses] == ["ttft", "tpot"]


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("", "empty"),
        ("fast", "not an SLO clause"),
        ("ttfb_p99=500ms", "no metric 'ttfb'"),
        ("ttft_p99=500", "no unit"),
        ("ttft_p99=500ms@99%", "both"),
        ("ttft_p99:500", "both"),
        ("ttft_p0=500ms", "not a percentile"),
        ("ttft_p100=500ms", "not a percentile"),
        ("ttft<2s@99", "not a share"),
        ("ttft<2s@0%", "not a share"),
        ("ttft<2s@101%", "not a share"),
        ("ttft<2parsecs", "not a duration"),
        ("ttft<0ms", "cannot be met"),
        ("ttft:-5", "cannot be met"),
        ("ttft:nan", "cannot be met"),
        ("mlperf:gpt-5", "no preset"),
    ],
)
def test_what_is_not_an_slo_is_said_with_a_hint(text: str, about: str) -> None:
    with pytest.raises(BadInputError, match=about) as caught:
        parse_slo(text)
    assert caught.value.hint


@given(st.text(max_size=30))
def test_any_text_is_an_slo_or_bad_input(text: str) -> None:
    hint = ""
    try:
        clauses = len(parse_slo(text).clauses)
    except BadInputError as error:
        clauses, hint = 0, error.hint
    assert clauses or hint


@given(st.sampled_from(NAMES), st.integers(1, 999), st.integers(1, 100_000))
def test_every_metric_and_percentile_can_be_named(metric: str, tenths: int, limit_us: int) -> None:
    (clause,) = parse_slo(f"{metric}_p{tenths / 10:g}={limit_us}us").clauses
    assert clause == Clause(clause.text, metric, limit_us * 1000, tenths / 10)


@pytest.mark.parametrize(("name", "ttft_ms", "tpot_ms"), [(name, *limits) for name, limits in MLPERF.items()])
def test_presets_are_mlperfs_limits(name: str, ttft_ms: int, tpot_ms: int) -> None:
    slo = parse_slo(f"mlperf:{name}")
    assert [(each.key, each.limit_ns / MS) for each in slo.clauses] == [
        ("p99_ttft_ms", ttft_ms),
        ("p99_tpot_ms", tpot_ms),
    ]
    assert slo.as_dict()["clauses"] == [f"ttft_p99={ttft_ms}ms", f"tpot_p99={tpot_ms}ms"]


def hundred(slow: int = 0, failed: int = 0, censored: int = 0) -> list[dict[str, object]]:
    """100 requests with a TTFT of 10 ms; some take 1 s, fail, or never end."""
    rows = []
    for k in range(100):
        due_ms = 100.0 * k
        if k < failed:
            rows.append(record(k, due_ms, outcome="timeout", done_ms=due_ms + 20))
        elif k < failed + censored:
            rows.append(record(k, due_ms, outcome="censored", tokens_ms=[due_ms + 5]))
        else:
            first = due_ms + (1000 if 50 <= k < 50 + slow else 10)
            rows.append(record(k, due_ms, tokens_ms=[first, first + 10, first + 20]))
    return rows


@pytest.mark.parametrize(
    ("slow", "failed", "censored", "attainment", "met"),
    [
        (0, 0, 0, 1.0, True),
        (10, 0, 0, 0.9, True),
        (11, 0, 0, 0.89, False),
        (5, 4, 2, 0.89, False),
        (3, 4, 3, 0.9, True),
    ],
)
def test_failures_and_censored_stay_in_the_denominator(
    slow: int, failed: int, censored: int, attainment: float, met: bool
) -> None:
    point = summarise(run(hundred(slow, failed, censored)), parse_slo("ttft<500ms@90%"))
    assert point["slo"]["attainment"] == pytest.approx(attainment)
    assert point["slo"]["met"] is met


def test_a_failure_counts_in_a_percentile_as_a_latency_without_end() -> None:
    """The median is met in spite of 40 failures; p90 is not, and has no value."""
    slo = parse_slo("ttft_median=500ms,ttft_p90=500ms")
    median, p90 = summarise(run(hundred(failed=40)), slo)["slo"]["clauses"]
    assert (median["met"], median["value_ms"]) == (True, 10)
    assert (p90["met"], p90["value_ms"]) == (False, None)


def test_goodput_needs_every_clause() -> None:
    rows = hundred(slow=10)
    one = summarise(run(rows), parse_slo("ttft:500"))
    both = summarise(run(rows), parse_slo("ttft:500,tpot:5"))
    assert one["request_goodput"] == pytest.approx(0.9 * one["request_throughput"], rel=0.02)
    assert both["request_goodput"] == 0
    assert summarise(run(rows))["request_goodput"] is None


def test_a_single_token_has_no_tpot_and_cannot_break_it() -> None:
    rows = [record(k, k, tokens_ms=[k + 5]) for k in range(3)]
    slo = summarise(run(rows), parse_slo("tpot:1"))["slo"]
    assert (slo["met"], slo["attainment"]) == (True, 1.0)


def test_a_percentile_with_too_few_samples_makes_the_verdict() -> None:
    rows = hundred()
    assert summarise(run(rows), parse_slo("ttft_p90=1s"))["verdict"] == "VALID"
    point = summarise(run(rows), parse_slo("ttft_p99=1s"))
    assert point["verdict"] == "TOO_FEW_SAMPLES"
    assert "ttft_p99=1s would need 662" in point["findings"][0]["seen"]


def test_an_slo_of_nothing_is_not_judged() -> None:
    assert summarise(run([]), parse_slo("ttft_p99=1s"))["slo"]["met"] is None
