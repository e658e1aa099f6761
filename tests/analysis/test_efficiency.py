"""Against the roofline itself: a deployment that runs at the floor has ratio 1, one at half the pace half the MBU."""

import json

import pytest

from loadgen.analysis.efficiency import efficiency, find_hardware
from loadgen.errors import BadInputError
from loadgen.roofline.bound import analyse
from loadgen.roofline.step import decode


def point(tokens_per_s, tpot_ms, running):
    lengths = {"input_obtained_mean": 8.0, "output_obtained_mean": 2032.0}
    return {
        "lengths": lengths,
        "output_throughput": tokens_per_s,
        "mean_tpot_ms": tpot_ms,
        "server": {"running_mean": running},
    }


def test_a_deployment_at_the_floor():
    hardware = find_hardware("a800:llama-2-7b", "")
    step = analyse(hardware.model, decode(batch=8, sequence=1024), hardware.gpu)
    floor_ms = step.floor_ns / 1e6
    found = efficiency(point(8 / floor_ms * 1e3, floor_ms, 8.2), hardware)
    assert found["batch"] == 8
    assert found["bound"] == "memory"
    assert found["decode_floor_ms"] == pytest.approx(8.63, abs=0.03)  # the published floor, arXiv 2404.11502's GPU
    assert found["tpot_over_floor"] == pytest.approx(1)
    assert found["mbu"] == pytest.approx(step.memory_ns / step.floor_ns)
    assert found["mfu"] == pytest.approx(step.compute_ns / step.floor_ns, rel=0.05)  # the prompts are short


def test_half_the_pace_is_half_the_bandwidth():
    hardware = find_hardware("h200:llama-2-7b", "")
    full, half = (efficiency(point(rate, 10.0, 16), hardware) for rate in (1000.0, 500.0))
    assert half["mbu"] == pytest.approx(full["mbu"] / 2)
    assert half["mfu"] == pytest.approx(full["mfu"] / 2)


def test_a_full_batch_reads_the_cache_of_all_its_sequences():
    """Of an H200's records: 256 running, 11,794 tok/s, 342 tokens of context each by every token's own; the 15 answers
    that began and ended in the window had 61 tokens. Weights 13.2 GB and a cache of 0.52 MB a token, 4,800 GB/s."""
    lengths = {"input_obtained_mean": 34.7, "output_obtained_mean": 61.1, "output_planned_mean": 479.6}
    decoding = {"sequences_mean": 254.9, "context_mean": 342.0, "token_ms": 21.6}
    decoding |= {"prompts_per_s": 24.5, "prompt_tokens_mean": 25.4}
    overload = {"lengths": lengths, "output_throughput": 11794.0, "mean_tpot_ms": 22.2, "decoding": decoding}
    overload |= {"server": {"running_mean": 255.75}}
    found = efficiency(overload, find_hardware("h200:llama-2-7b", ""))
    by_hand = (13.2e9 + 256 * 342 * 2 * 32 * 4096 * 2) / 4800e9 * (11794 / 256)
    assert found["mbu"] == pytest.approx(by_hand, rel=0.06)  # activations come to it
    assert found["prompt_share"] < 0.02
    assert found["mbu"] < found["least_share"] < found["mbu"] + found["mfu"]
    assert found["tpot_over_floor"] == pytest.approx(21.6 / found["decode_floor_ms"])
    assert efficiency(overload | {"decoding": None}, find_hardware("h200:llama-2-7b", ""))["mbu"] < 0.3


def test_a_server_that_ended_nothing_in_the_window_still_shows_its_pace():
    """DeepSpeed-MII on the H200: 2,787 in flight, none of those that began in the window ended there."""
    lengths = {"input_planned_mean": 29.6, "output_planned_mean": 26.2}
    decoding = {"sequences_mean": 224.7, "context_mean": 46.1, "token_ms": 112.0}
    decoding |= {"prompts_per_s": 76.0, "prompt_tokens_mean": 29.5}
    mute = {"lengths": lengths, "output_throughput": 2007.0, "mean_tpot_ms": None, "effective_concurrency": 2787.0}
    found = efficiency(mute | {"server": None, "decoding": decoding}, find_hardware("h200:llama-2-7b", ""))
    assert found["batch"] == 225
    assert found["tpot_over_floor"] > 20


def test_nothing_produced_is_none():
    assert efficiency(point(None, None, None), find_hardware("l4:llama-2-7b", "")) is None


def test_which_model():
    assert find_hardware("h100", "meta-llama/Llama-2-13b-chat-hf").model.name == "llama-2-13b"
    with pytest.raises(BadInputError, match="served model 'my-model'"):
        find_hardware("h100", "my-model")
    with pytest.raises(BadInputError, match="GPU 'h1000'"):
        find_hardware("h1000:llama-2-7b", "")


def test_a_local_config(tmp_path):
    config = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32}
    config |= {"intermediate_size": 11008, "vocab_size": 32000}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert find_hardware(f"l4:{path}", "").model.layers == 32
    assert find_hardware(f"l4:{tmp_path}", "").model.layers == 32
