"""Step times against the published floors of Llama-2-7B, and against what physics demands."""

import time

import pytest

from loadgen.roofline.bound import analyse
from loadgen.roofline.step import decode, prefill
from loadgen.roofline.transformer import PRESETS, find_transformer
from loadgen.simulator.batching import Batch, Step
from loadgen.simulator.deployment import find_card, find_model, kv_cache_bytes
from loadgen.simulator.kv_cache import BlockPool
from loadgen.simulator.options import build_engine, parse_options
from loadgen.simulator.policies import POLICIES
from loadgen.simulator.sequence import Sequence
from loadgen.simulator.timing import UNCALIBRATED, Costs, StepTime, gpu_costs
from loadgen.simulator.virtual import drive
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
    duration = StepTime(find_transformer("llama-2-7b"), find_card(gpu))
    for batch, floor_ms in ((1, batch_1_ms), (8, batch_8_ms), (32, batch_32_ms)):
        step = Step(decodes=True, decode_rows=batch, decode_kv=1024 * batch, samples=batch)
        assert duration(step) / NS_PER_MS == pytest.approx(floor_ms, rel=0.003)


def prefill_of(tokens: int) -> Step:
    step = Step()
    step.add(Sequence(0, tokens, 2), tokens)
    return step


@pytest.mark.parametrize(
    ("gpu", "length", "floor_ms"), [("h100", 1024, 16.0), ("h200", 2048, 31.8), ("l4", 1024, 136.7)]
)
def test_prefill_floors(gpu: str, length: int, floor_ms: float) -> None:
    step = prefill_of(length)
    step.prefill_pairs = length * length  # the published floors do not halve by the mask
    assert StepTime(find_transformer("llama-2-7b"), find_card(gpu))(step) / NS_PER_MS == pytest.approx(
        floor_ms, rel=0.004
    )


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("step", [(1, 777), (48, 1024)])
def test_a_step_is_the_rooflines_whatever_the_model(name: str, step: tuple[int, int]) -> None:
    batch, context = step
    model, gpu = find_transformer(name), find_card("h200")
    decoding = Step(decodes=True, decode_rows=batch, decode_kv=context * batch, samples=batch)
    assert StepTime(model, gpu)(decoding) == pytest.approx(analyse(model, decode(batch, context), gpu).floor_ns, abs=1)
    assert StepTime(model, gpu)(prefill_of(context)) == pytest.approx(
        analyse(model, prefill(1, context), gpu).floor_ns, abs=1
    )


def test_a_mixed_step_costs_less_than_its_parts_and_more_than_either() -> None:
    duration = StepTime(find_transformer("llama-2-7b"), find_card("a800-80g"))
    prompt, mixed = prefill_of(256), prefill_of(256)
    alone = Step(decodes=True, decode_rows=64, decode_kv=64 * 500, samples=64)
    mixed.decodes, mixed.decode_rows, mixed.decode_kv, mixed.samples = True, 64, 64 * 500, 65
    assert max(duration(prompt), duration(alone)) < duration(mixed) < duration(prompt) + duration(alone)


def test_chunks_of_a_prompt_do_the_work_of_the_whole() -> None:
    def pairs(budget: int) -> int:
        batch = Batch(BlockPool(100), POLICIES["chunked"], 2, budget)
        batch.submit(Sequence(0, 1000, 1))
        total = 0
        while step := batch.plan_step(0):
            total += step.prefill_pairs
            batch.finish_step(step, 0)
        return total

    assert pairs(2048) == pairs(300) == pairs(7) == 1000 * 1001 // 2


def test_every_cost_is_added_where_it_belongs() -> None:
    step = Step(decodes=True, decode_rows=8, decode_kv=800, samples=8)
    model, gpu = find_transformer("llama-3.1-8b"), find_card("l4")
    floor_ns = StepTime(model, gpu)(step)
    half = Costs(0.5, 0.5)
    assert StepTime(model, gpu, half)(step) == pytest.approx(2 * floor_ns, abs=2)
    kernels = 32 * 10 + 3  # ten operations a layer; embedding, final norm, LM head
    host = Costs(1, 1, kernel_ns=100, host_ns=5000, host_sequence_ns=70)
    assert StepTime(model, gpu, host)(step) == pytest.approx(floor_ns + kernels * 100 + 5000 + 8 * 70, abs=1)
    memory_bound, compute_bound = step, prefill_of(4096)
    slow_memory, slow_compute = Costs(memory_efficiency=0.5), Costs(compute_efficiency=0.5)
    assert StepTime(model, gpu, slow_memory)(memory_bound) > 1.99 * floor_ns
    assert StepTime(model, gpu, slow_compute)(compute_bound) > 1.8 * StepTime(model, gpu)(compute_bound)


def test_cards_that_nobody_measured_are_said_to_reach_nine_tenths() -> None:
    assert gpu_costs(find_card("l4")) == UNCALIBRATED == Costs(0.9, 0.9)
    assert gpu_costs(find_card("a800-80g")) == gpu_costs(find_card("a100"))
    assert gpu_costs(find_card("h200")).memory_efficiency > gpu_costs(find_card("a100")).memory_efficiency


def test_the_default_deployment_saturates_at_20_to_25_answers_of_26_tokens() -> None:
    engine, max_num_seqs, max_model_len = build_engine(parse_options([]))
    assert (max_num_seqs, max_model_len) == (32, 4096)
    sequences = [Sequence(0, 30, 26) for _ in range(32 * 20)]
    drive(engine, sequences)
    assert 20 < 32 * 20 / (sequences[-1].end_ns / 1e9) < 25


def test_virtual_time_is_300_times_faster_than_real_at_a_batch_of_256() -> None:
    engine, _, _ = build_engine(parse_options(["--gpu", "a800-80g", "--max-num-seqs", "256"]))
    sequences = [Sequence(0, 30, 1 + k % 51) for k in range(256 * 8)]
    began_ns = time.process_time_ns()
    drive(engine, sequences)
    assert sequences[-1].end_ns > 300 * (time.process_time_ns() - began_ns)


def test_what_is_left_for_the_cache() -> None:
    left = kv_cache_bytes(find_transformer("llama-2-7b"), find_card("l4"), 0.9) // 524_288
    assert 15_900 < left < 16_100
    assert kv_cache_bytes(find_transformer("llama-2-13b"), find_card("l4"), 0.9) < 0
    assert find_model("lmsys/vicuna-7b-v1.5-16k")[1] == 16384
