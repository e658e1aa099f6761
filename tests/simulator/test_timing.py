"""Step times against the published floors of Llama-2-7B, and against what physics demands."""

import pytest

from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.options import build_engine, parse_options
from loadgen.simulator.presets import GPUS, MODELS, kv_cache_bytes
from loadgen.simulator.sequence import Sequence
from loadgen.simulator.timing import StepTime
from loadgen.units import NS_PER_MS


@pytest.mark.parametrize(
    ("gpu", "batch_1_ms", "batch_8_ms", "batch_32_ms"),
    [
        ("l4", 45.88, 58.66, 102.5),
        ("rtx-3090", 14.70, 18.80, 32.85),
        ("rtx-4090", 13.65, 17.46, 30.51),
        ("a800-80g", 6.75, 8.63, 15.08),
        ("h100", 4.11, 5.25, 9.18),
        ("h200", 2.87, 3.67, 6.41),
    ],
)
def test_decode_floors_at_1024_tokens(gpu: str, batch_1_ms: float, batch_8_ms: float, batch_32_ms: float) -> None:
    duration = StepTime(MODELS["llama-2-7b"], GPUS[gpu])
    for batch, floor_ms in ((1, batch_1_ms), (8, batch_8_ms), (32, batch_32_ms)):
        step = Step(decodes=batch, decode_kv=1024 * batch, samples=batch)
        assert duration(step) / NS_PER_MS == pytest.approx(floor_ms, rel=0.003)


def test_parameters_and_cache_are_the_published_ones() -> None:
    assert MODELS["llama-2-7b"].parameters == 6_738_415_616
    assert MODELS["llama-2-13b"].parameters == 13_015_864_320
    assert MODELS["llama-3.1-8b"].parameters == 8_030_261_248
    assert MODELS["llama-2-7b"].kv_bytes_per_token == 524_288
    assert MODELS["llama-2-13b"].kv_bytes_per_token == 819_200
    assert MODELS["llama-3.1-8b"].kv_bytes_per_token == 131_072


def test_a_prefill_is_compute_bound_and_causal() -> None:
    model, gpu = MODELS["llama-2-7b"], GPUS["h100"]
    step = Step(prefill_tokens=2048, prefill_pairs=2048 * 2049 // 2, prefill_kv=2048, samples=1)
    linears = 2 * 2048 * model.layers * model.layer_weights
    attention = 32 * 34_645_082_112  # per layer, causal
    head_s = 262_216_192 / gpu.bandwidth
    floor_ms = ((linears + attention) / gpu.peak_flops + head_s) * 1000
    assert StepTime(model, gpu)(step) / NS_PER_MS == pytest.approx(floor_ms, rel=0.001)


def test_chunks_of_a_prompt_do_the_work_of_the_whole() -> None:
    def pairs(budget: int) -> int:
        batch = Batch(BlockPool(100), 2, budget)
        batch.submit(Sequence(0, 1000, 1))
        total = 0
        while (step := batch.plan_step(0)).work:
            total += step.prefill_pairs + step.decode_kv
            batch.finish_step(step)
        return total

    assert pairs(2048) == pairs(300) == pairs(7) == 1000 * 1001 // 2


def test_efficiency_scales_the_gpu_and_overhead_is_added_once() -> None:
    step = Step(decodes=8, decode_kv=800, samples=8)
    model, gpu = MODELS["llama-3.1-8b"], GPUS["l4"]
    floor_ns = StepTime(model, gpu)(step)
    assert StepTime(model, gpu, efficiency=0.5, host_overhead_ns=1000)(step) == pytest.approx(
        2 * floor_ns + 1000, abs=2
    )


def test_the_default_deployment_saturates_near_23_answers_of_26_tokens() -> None:
    engine, max_num_seqs, max_model_len = build_engine(parse_options([]))
    assert (max_num_seqs, max_model_len) == (32, 4096)
    engine.submit([Sequence(0, 30, 26) for _ in range(32 * 20)])
    end_ns = 0
    while engine.next_due_ns is not None:
        end_ns = engine.next_due_ns
        engine.advance()
    assert 22 < 32 * 20 / (end_ns / 1e9) < 25


def test_what_is_left_for_the_cache() -> None:
    left = kv_cache_bytes(MODELS["llama-2-7b"], GPUS["l4"], 0.9) // 524_288
    assert 15_900 < left < 16_100
    assert kv_cache_bytes(MODELS["llama-2-13b"], GPUS["l4"], 0.9) < 0
