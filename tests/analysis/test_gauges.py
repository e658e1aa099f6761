"""What client and server told of themselves: names, means, and silence that is not zero."""

import numpy as np
import pytest
from made import MS, S, poisson_s, record, run, telemetry

from loadgen.analysis.gauges import SERVER_NAMES, Series, http_section, series, server_section
from loadgen.analysis.measurer import dispersion, gap_cv
from loadgen.analysis.summary import summarise


@pytest.mark.parametrize(
    ("running", "waiting"), list(zip(SERVER_NAMES["running"], SERVER_NAMES["waiting"], strict=True))
)
def test_every_servers_own_names_are_known(running: str, waiting: str) -> None:
    told = telemetry(
        [(k, "server", name, value) for k in range(5) for name, value in ((running, k), (waiting, 10 * k))]
    )
    section = server_section(told, 1 * S, 3 * S)
    assert section is not None
    assert (section["running_mean"], section["running_max"]) == (2, 3)
    assert (section["waiting_mean"], section["waiting_max"]) == (20, 30)
    assert section["kv_cache_max"] is None
    assert section["preemptions"] is None


def test_a_counter_is_what_it_grew_in_the_window() -> None:
    told = telemetry([(k, "server", "vllm:num_preemptions_total", 7 + 2 * k) for k in range(6)])
    section = server_section(told, 1 * S, 4 * S)
    assert section is not None
    assert section["preemptions"] == 6


def test_label_sets_of_one_scrape_are_added_and_the_client_is_not_the_server() -> None:
    told = telemetry(
        [(t, "server", f'vllm:num_requests_running{{engine="{e}"}}', 10 + e) for t in (1, 2) for e in (0, 1)]
        + [(1, "client", "vllm:num_requests_running", 99)]
    )
    assert series(told, "server", "vllm:num_requests_running").values.tolist() == [21, 21]


@pytest.mark.parametrize("told", [None, telemetry([]), telemetry([(1, "server", "unknown:gauge", 1)])])
def test_a_silent_server_is_null(told: object) -> None:
    point = summarise(run([record(0, 0, tokens_ms=[10])], telemetry=told))
    assert point["server"] is None
    assert point["client"]["cpu_fraction"] is None
    assert point["timeline"]["server_running"] is None
    assert point["timeline"]["kv_cache"] is None


def test_client_readings_become_its_section() -> None:
    readings = [("cpu_fraction", 0.25), ("loop_lag_max_ns", 3e6), ("gc_pause_max_ns", 1e6), ("read_delay_p99_ns", 4e5)]
    told = telemetry([(0.1 * k, "client", name, value) for k in range(20) for name, value in readings])
    rows = [record(k, 100 * k, tokens_ms=[100 * k + 10], connection=k % 3, shared_stamps=k % 2) for k in range(20)]
    section = summarise(run(rows, telemetry=told))["client"]
    assert section["cpu_fraction"] == pytest.approx(0.25)
    assert section["loop_lag_p99_ms"] == pytest.approx(3)
    assert section["gc_pause_max_ms"] == pytest.approx(1)
    assert section["read_delay_p99_ms"] == pytest.approx(0.4)
    assert (section["connections"], section["shared_stamp_share"], section["stamp_source"]) == (3, 0.5, "kernel")


def test_the_busiest_five_seconds() -> None:
    times = np.arange(200) * 0.1 * S
    values = np.where((times >= 8 * S) & (times < 14 * S), 1.0, 0.2)
    assert Series(times, values).most_sustained(5 * S) == pytest.approx(1.0)
    assert Series(times[:20], values[:20]).most_sustained(5 * S) == pytest.approx(0.2)
    assert Series(times, values).quantile(0.5) == pytest.approx(0.2)


def test_dispersion_sees_bunching_that_the_gaps_hide() -> None:
    """Ten Poisson streams of one seed, a ms apart, as a load generator was seen to send."""
    rng = np.random.default_rng(0)
    one = poisson_s(rng, 20, (1, 1200))[0] * S
    copies = np.concatenate([poisson_s(np.random.default_rng(1), 2, (1, 120))[0] * S + k * MS for k in range(10)])
    assert dispersion(one, 0, 60 * S, S) == pytest.approx(1, abs=0.4)
    assert dispersion(copies, 0, 60 * S, S) == pytest.approx(10, rel=0.4)
    assert gap_cv(one) == pytest.approx(1, abs=0.1)
    assert dispersion(np.arange(0, 60, 0.05) * S, 0, 60 * S, S) == pytest.approx(0, abs=0.01)
    assert dispersion(one, 0, 60 * S, 10 * S) is None  # six windows
    assert gap_cv(np.array([1.0])) is None


def test_counters_per_second_prefix_hits_and_who_speaks() -> None:
    """A counter is read just outside the window, so that a short window has a rate."""
    rows = [
        (float(k), "server", name, step * k)
        for k in range(10)
        for name, step in (
            ("vllm:prompt_tokens_total", 1000),
            ("vllm:generation_tokens_total", 300),
            ("vllm:prefix_cache_hits_total", 250),
            ("vllm:prefix_cache_queries_total", 1000),
            ("vllm:max_num_seqs", 0),
        )
    ]
    section = server_section(telemetry(rows), 3.2 * S, 3.8 * S)
    assert section is not None
    assert section["engine"] == "vllm"
    assert section["prompt_tokens_per_s"] == pytest.approx(1000)
    assert section["generation_tokens_per_s"] == pytest.approx(300)
    assert section["prefix_hit_rate"] == pytest.approx(0.25)
    assert section["preemptions"] is section["gpu"] is section["running_mean"] is None


def test_llama_cpp_counts_what_it_computed_and_what_it_did_not_apart() -> None:
    rows = [
        (float(k), "server", name, step * k)
        for k in range(10)
        for name, step in (("llamacpp:prompt_tokens_total", 750), ("llamacpp:prompt_tokens_cached_total", 250))
    ]
    section = server_section(telemetry(rows), 3.2 * S, 3.8 * S)
    assert section is not None
    assert section["prefix_hit_rate"] == pytest.approx(0.25)


def test_a_counter_that_was_reset_tells_nothing() -> None:
    told = telemetry([(k, "server", "vllm:prompt_tokens_total", value) for k, value in enumerate([5, 9, 1, 4])])
    section = server_section(told, 0, 3 * S)
    assert section is not None
    assert section["prompt_tokens_per_s"] is None


def test_power_and_energy_per_token() -> None:
    names = {"count": 2, "utilization": 0.9, "memory_usage": 0.5, "memory_used_bytes": 1 << 30, "power_watts": 10}
    rows = [(k, "server", f"gpu:{name}", value) for k in range(4) for name, value in names.items()]
    section = server_section(telemetry(rows), 0, 3 * S, 100.0)
    assert section is not None
    assert section["gpu"] == {
        "count": 2,
        "utilization_mean": 0.9,
        "memory_usage_max": 0.5,
        "memory_used_gib": 1,
        "power_mean_w": 10,
        "joules_per_output_token": 0.1,
    }
    metered = [*rows, *((k, "server", "gpu:energy_joules", 700 * k) for k in range(4))]
    section = server_section(telemetry(metered), 0, 3 * S, 100.0)
    assert section is not None
    assert section["gpu"]["power_mean_w"] == 700  # a meter beats a few looks at the needle


def test_network_and_http_layer_are_told_apart() -> None:
    rows = [
        (k, "server", f"loadgen:{n}_seconds", s * (k + 1))
        for k in range(3)
        for n, s in (("connect", 1e-4), ("answer", 0.1))
    ]
    section = http_section(telemetry(rows), 0, 2 * S)
    assert section == pytest.approx(
        {"connect_p50_ms": 0.2, "connect_max_ms": 0.3, "answer_p50_ms": 200, "answer_max_ms": 300, "questions": 3}
    )
    assert http_section(None, 0, S) is None
    between = http_section(telemetry(rows), 2.2 * S, 2.8 * S)  # asked once a second, or less: the last one counts
    assert between is not None
    assert between["answer_p50_ms"] == pytest.approx(300)


@pytest.mark.parametrize(("error_ms", "severity"), [(0.02, None), (20.0, "error")])
def test_stamps_that_are_off_are_told_by_the_canary(error_ms: float, severity: str | None) -> None:
    told = telemetry([(0.1 * k, "client", "canary_error_ns", error_ms * 1e6) for k in range(20)])
    point = summarise(run([record(k, 100 * k, tokens_ms=[100 * k + 10]) for k in range(20)], telemetry=told))
    assert point["client"]["canary_p99_ms"] == pytest.approx(error_ms)
    assert point["client"]["canary_readings"] == 20
    found = [each["severity"] for each in point["findings"] if each["code"] == "STAMPS_OFF"]
    assert found == ([] if severity is None else [severity])
    assert (point["verdict"] == "CLIENT_LIMITED") is (severity is not None)


def test_one_write_that_was_held_up_is_no_wrong_clock() -> None:
    told = telemetry([(0.1 * k, "client", "canary_error_ns", 3e7 if k == 7 else 2e4) for k in range(20)])
    point = summarise(run([record(k, 100 * k, tokens_ms=[100 * k + 10]) for k in range(20)], telemetry=told))
    assert [each["severity"] for each in point["findings"] if each["code"] == "STAMPS_OFF"] == ["warning"]
    assert point["verdict"] != "CLIENT_LIMITED"
