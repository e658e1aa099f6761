"""Why it serves no more: each limit provoked in the simulator on virtual time, and told from evidence made by hand."""

from typing import Any

import pytest
from provoked import provoked

from loadgen.analysis.reasons import is_refusing, limits, reason_of
from loadgen.analysis.remedies import ALIASES, ANY, TRY, WORDS, Limit, try_next
from loadgen.analysis.saturation import is_saturated, saturation

# what is limited → (simulator options, requests/s, prompt, answer): about twice what it holds
PROVOKED: dict[str, tuple[Limit, str, float, int, int]] = {
    "few places": (Limit.SLOTS, "--gpu h100 --max-num-seqs 8", 60, 32, 40),
    "places that grow the batch": (Limit.SLOTS, "--gpu h100 --max-num-seqs 32", 60, 100, 200),
    "a small cache": (
        Limit.KV_CACHE,
        "--gpu h100 --max-num-seqs 256 --kv-cache-tokens 4096 --max-model-len 1024",
        40,
        64,
        200,
    ),
    "a cache that is promised": (
        Limit.KV_CACHE,
        "--gpu h100 --batching inflight --kv-cache-tokens 4096 --max-model-len 1024",
        40,
        64,
        200,
    ),
    "long prompts": (Limit.PREFILL, "--gpu h100 --max-num-seqs 256", 60, 1800, 8),
    "long prompts, prompts first": (Limit.PREFILL, "--gpu h100 --batching continuous --max-num-seqs 64", 60, 1800, 8),
    "no limit but memory": (
        Limit.DECODE,
        "--gpu l4 --max-num-seqs 4096 --kv-cache-gib 8000",
        2,
        500,
        300,
    ),
    "a slow host": (Limit.ENGINE, "--gpu h100 --max-num-seqs 4096 --host-overhead-per-seq-us 3000", 40, 32, 40),
    "a gateway": (Limit.HTTP, "--gpu h100 --gateway-limit 4 --max-queue 100000", 60, 32, 40),
}


@pytest.mark.parametrize("what", PROVOKED)
def test_the_limit_that_was_provoked(what: str) -> None:
    limit, *how = PROVOKED[what]
    point = provoked(*how, seconds=400.0 if limit is Limit.DECODE else 20.0)
    assert is_saturated(point)
    found = limits(point)
    assert found[0]["code"] == limit, found
    assert all(set(each) == {"code", "severity", "seen", "meaning", "try_next"} for each in found)
    assert WORDS[limit][0] in reason_of(point)


@pytest.mark.parametrize("what", ["few places", "a small cache", "long prompts", "a gateway"])
def test_the_gauges_say_it_without_a_roofline(what: str) -> None:
    limit, *how = PROVOKED[what]
    assert limits(provoked(*how, gpu=False))[0]["code"] == limit


def test_prompts_take_the_time_without_a_roofline() -> None:
    """Each prompt's time is known from a light load."""
    _, options, rate, *lengths = PROVOKED["long prompts"]
    light, full = (provoked(options, each, *lengths, gpu=False) for each in (2.0, rate))
    found = limits(full, light)
    assert found[0]["code"] == Limit.PREFILL
    assert "which alone would take" in found[0]["seen"]


def test_decoding_slows_down_without_a_roofline() -> None:
    _, options, rate, *lengths = PROVOKED["no limit but memory"]
    light, full = (provoked(options, each, *lengths, seconds=400.0, gpu=False) for each in (0.2, rate))
    found = limits(full, light)
    assert found[0]["code"] == Limit.DECODE
    assert "times as long as under a light load" in found[0]["seen"]


def silent(point: dict[str, Any]) -> dict[str, Any]:
    return point | {"server": None, "http": None}


def test_a_silent_server_is_seen_through_its_pace() -> None:
    """Output tokens/s times TPOT sequences decode at once, as fast as ever: what is short is places."""
    _, options, rate, *lengths = PROVOKED["few places"]
    light, full = (silent(provoked(options, each, *lengths, gpu=False)) for each in (4.0, rate))
    found = limits(full, light, "transformers")[0]
    assert found["code"] == Limit.SLOTS
    assert "About 8 of" in found["seen"]
    assert "--continuous-batching" in found["try_next"]
    unknown = limits(full)[0]
    assert unknown["code"] == Limit.UNKNOWN
    assert "--gpu" in unknown["try_next"]


BUSY = {
    "verdict": "NOT_STEADY",
    "findings": [{"code": "SATURATED", "severity": "warning", "seen": "x"}],
    "effective_concurrency": 100.0,
    "mean_ttft_ms": 3000.0,
    "mean_tpot_ms": 20.0,
    "output_throughput": 400.0,
    "total_token_throughput": 800.0,
    "achieved_rate": 20.0,
    "offered_rate": 40.0,
    "num_prompts": 400,
    "http_statuses": {},
    "server": {"engine": "vllm", "running_mean": 8.0, "running_max": 9.0, "waiting_mean": 0.0, "waiting_max": 0.0},
    "http": {"connect_p50_ms": 0.2, "answer_p50_ms": 1800.0},
    "efficiency": None,
}


def busy(**more: Any) -> dict[str, Any]:
    return BUSY | more


def test_the_front_end_and_the_network_are_told_apart() -> None:
    """Both leave the engine idle; connecting is the kernel's work and needs no CPU of the API server."""
    found = limits(busy())[0]
    assert found["code"] == Limit.HTTP
    assert found["seen"] == "92 of 100 requests not in the engine, 8 in it; a small question took 1.8 s."
    assert "--api-server-count" in found["try_next"]
    found = limits(busy(http={"connect_p50_ms": 1100.0, "answer_p50_ms": 120.0}))[0]
    assert found["code"] == Limit.NETWORK
    assert found["seen"] == "Connecting took 1.1 s, being answered 120 ms after that."


def test_a_front_end_that_does_not_even_show_its_gauges() -> None:
    """They time out, nothing has come back in the window, and the roofline's batch would be a guess."""
    guess = {"prompt_share": 0.1, "doubling_gain": 1.1, "mbu": 0.02, "mfu": 0.01}
    mute = {"verdict": "NOT_STEADY", "findings": [], "effective_concurrency": 174.0, "achieved_rate": 25.0}
    mute |= {"output_throughput": 499.0, "efficiency": guess, "server": {"engine": "vllm", "cap": 32.0}}
    found = limits(mute | {"http": {"connect_p50_ms": 0.2, "answer_p50_ms": 5000.0}})
    assert [each["code"] for each in found] == [Limit.HTTP]
    assert limits(mute | {"http": {"connect_p50_ms": 5000.0, "answer_p50_ms": None}})[0]["code"] == Limit.NETWORK
    light = {"median_ttft_ms": 47.5, "mean_tpot_ms": 6.3}  # the front end's time is in its TTFT: no proof of prompts
    assert limits(mute | {"http": {"connect_p50_ms": 0.2, "answer_p50_ms": 3.0}}, light)[0]["code"] == Limit.UNKNOWN


def test_a_slow_front_end_without_gauges() -> None:
    assert limits(busy(server=None))[0]["seen"] == "Even a small question to the server took 1.8 s."
    quick = busy(server=None, http={"connect_p50_ms": 0.2, "answer_p50_ms": 3.0})
    assert limits(quick)[0]["code"] == Limit.UNKNOWN


def test_a_busy_engine_is_no_front_end() -> None:
    inside = BUSY["server"] | {"running_mean": 60.0, "running_max": 64.0, "waiting_mean": 36.0, "waiting_max": 50.0}
    assert limits(busy(server=inside))[0]["code"] == Limit.SLOTS


def test_refusals_and_what_is_behind_them() -> None:
    full = BUSY["server"] | {
        "running_mean": 8.0,
        "running_max": 8.0,
        "waiting_mean": 3.6,
        "waiting_max": 4.0,
        "cap": 8.0,
    }
    point = busy(http_statuses={"429": 100, "503": 20, "400": 3}, server=full, effective_concurrency=12.0, findings=[])
    assert is_refusing(point)
    assert is_saturated(point)
    found = limits(point)
    assert [each["code"] for each in found] == [Limit.ADMISSION, Limit.SLOTS]
    assert [each["severity"] for each in found] == ["warning", "info"]
    assert found[0]["seen"] == "30 % of the requests were answered with 429 or 503."
    assert reason_of(point) == (
        "the server refuses what it cannot take (30 % of the requests were answered with 429 or 503); "
        "behind it the decode batch is full (8 running, 4 waiting)"
    )
    assert not is_refusing(busy(http_statuses={"429": 4}))
    assert not is_refusing(busy(http_statuses={"500": 400}))


def test_the_client_comes_first() -> None:
    late = [{"code": "CLIENT_LAG", "severity": "error", "seen": "Requests left late through our own doing."}]
    point = busy(verdict="CLIENT_LIMITED", findings=late)
    assert limits(point)[0]["code"] == Limit.CLIENT
    assert reason_of(point) == ("this client was the limit, not the server (requests left late through our own doing)")


def test_nothing_known_still_says_what_would_settle_it() -> None:
    bare = {"verdict": "NOT_STEADY", "findings": []}
    assert limits(bare)[0]["code"] == Limit.UNKNOWN
    assert reason_of(bare) == "completions stop growing with arrivals (0 of 0 req/s completed)"


def test_a_sweep_gives_the_reason_and_the_remedy() -> None:
    limit, options, rate, *lengths = PROVOKED["few places"]
    points = [provoked(options, each, *lengths, seconds=30.0) for each in (5.0, rate)]
    found = saturation(points)
    assert found is not None
    assert found["reason"].startswith("the decode batch is full (8 running, ")
    assert found["limits"][0]["code"] == limit
    assert found["limits"][0]["try_next"] == "Raise --max-num-seqs (now 8)."


@pytest.mark.parametrize("limit", Limit)
def test_every_limit_has_words_and_something_to_try_for_everybody(limit: Limit) -> None:
    assert all(WORDS[limit])
    for engine in (None, "", "vllm", "sglang", "llama.cpp", "TensorRT-LLM", "mii", "transformers", "simulator", "new"):
        for cap in (None, "256"):
            text = try_next(limit, engine, cap)
            assert text.endswith(".")
            assert "{cap}" not in text
    engines = {engine for table in TRY.values() for engine in table}
    assert set(ALIASES.values()) <= engines | {ANY}


def roofline(**more: Any) -> dict[str, Any]:
    return {"mbu": 0.6, "mfu": 0.17, "least_share": 0.62, "prompt_share": 0.01, "decode_floor_ms": 13.4} | more


def test_a_full_batch_that_no_larger_one_would_better_is_said_to_be_full() -> None:
    """Of the H200's records: 256 run, as --max-num-seqs says, and a larger batch is slower in proportion."""
    server = {
        "engine": "vllm",
        "running_mean": 255.7,
        "running_max": 256.0,
        "waiting_mean": 203.0,
        "waiting_max": 305.0,
    }
    quick = {"connect_p50_ms": 0.2, "answer_p50_ms": 7.0}
    point = busy(server=server, http=quick, effective_concurrency=460.0, efficiency=roofline(doubling_gain=1.000004))
    assert reason_of(point) == (
        "decoding takes the GPU's memory bandwidth (the batch is full with 256 running and 305 waiting, 60 % of the "
        "GPU's memory bandwidth is used, by the roofline twice the batch would give no more tokens)"
    )
    point["efficiency"]["doubling_gain"] = 1.14
    assert "twice the batch would give 1.14 times the tokens" in reason_of(point)
    point["efficiency"]["doubling_gain"] = 1.5
    assert limits(point)[0]["seen"] == "256 running, 305 waiting."
    point["efficiency"] |= {"mbu": 0.1, "mfu": 0.09, "least_share": 0.15}
    assert limits(point)[0]["seen"] == "256 running, 305 waiting, a token takes 20 ms where the GPU needs 13.4 ms."


def test_a_gpu_that_is_idle_two_thirds_of_the_time_is_no_limit() -> None:
    """Neither of its two limits is near, and a third of both together is none either."""
    idle = roofline(mbu=0.24, mfu=0.25, least_share=0.3, doubling_gain=1.0)
    inside = BUSY["server"] | {"running_mean": 90.0, "running_max": 99.0}
    point = busy(server=inside, http=None, efficiency=idle)
    assert limits(point)[0]["code"] == Limit.ENGINE
    point["efficiency"] = idle | {"least_share": 0.4}
    assert limits(point)[0]["code"] == Limit.DECODE


def test_a_mute_server_whose_answers_all_wait_is_known_by_what_it_decodes() -> None:
    """DeepSpeed-MII on the H200: no gauges, 2,787 in flight, nothing that began in the window ended there."""
    decoding = {"sequences_mean": 224.7, "context_mean": 46.1, "token_ms": 112.0}
    idle = roofline(mbu=0.04, mfu=0.06, least_share=0.07, prompt_share=0.3, doubling_gain=1.1, decode_floor_ms=4.5)
    mute = {"verdict": "NOT_STEADY", "findings": [], "effective_concurrency": 2787.0, "achieved_rate": 76.2}
    mute |= {"output_throughput": 2007.0, "mean_tpot_ms": None, "http": {"connect_p50_ms": 0.2, "answer_p50_ms": 6.0}}
    found = limits(mute | {"decoding": decoding, "efficiency": idle}, engine="deepspeed-mii")[0]
    assert found["code"] == Limit.ENGINE
    assert found["seen"].startswith("225 running, a token takes 112 ms where the GPU needs 4.5 ms, ")


def test_prompts_that_run_beside_each_other_do_not_fill_the_time() -> None:
    """A server of constant times and 16 places, silent about itself: TTFT 20 ms, 10 ms a token, 20 tokens."""
    light = {"median_ttft_ms": 20.1, "mean_tpot_ms": 10.0}
    full = BUSY | {
        "server": None,
        "http": {"connect_p50_ms": 0.1, "answer_p50_ms": 0.3},
        "achieved_rate": 76.2,
        "output_throughput": 1524.0,
        "total_token_throughput": 9000.0,
        "mean_tpot_ms": 10.0,
        "mean_ttft_ms": 2500.0,
        "effective_concurrency": 200.0,
    }
    assert limits(full, light)[0]["code"] == Limit.SLOTS
    assert limits(full | {"mean_tpot_ms": 25.0}, light)[0]["code"] == Limit.PREFILL  # they do slow the others down
