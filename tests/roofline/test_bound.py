"""Floors, bounds and sizes, against the tables of docs/roofline.md."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.roofline.bound import (
    analyse,
    compute_bound_batch,
    kv_bytes_per_token,
    largest_batch,
    weight_bytes,
)
from loadgen.roofline.gpus import GPUS, own_limits
from loadgen.roofline.step import decode, prefill
from loadgen.roofline.transformer import PRESETS

LLAMA = PRESETS["llama-2-7b"]

# Llama-2-7B bf16, fused, non-causal: the ridge; decode ms at S = 1024 for b = 1, 8, 32, 128; prefill ms for 1×1024,
# 1×2048, 8×1024. A star: weights and cache do not fit. Worked out elsewhere, without the embedding's row (0.03 %).
FLOORS = """
RTX-3090  76.1   14.70  18.80  32.85*  98.11*  201.3  417.8  1608
RTX-4090  163.9  13.65  17.46  30.51*  82.70*  90.3   187.1  720.8
A800      153.0  6.75   8.63   15.08   40.88*  47.6   98.6   379.8
A100-80G  153.0  6.75   8.63   15.08   40.88*  47.6   98.6   379.8
A100-40G  200.6  8.85   11.32  19.78   53.61*  48.6   100.6  387.8
L4        403    45.88  58.66  102.5*  277.9*  136.7  281.6  1087
L40S      419    15.93  20.37  35.59   96.48*  46.0   94.7   365.6
H100-SXM  295.3  4.11   5.25   9.18    24.88*  16.0   33.0   127.3
H200-SXM  206.1  2.87   3.67   6.41    17.37   15.4   31.8   122.6
B200      281.3  1.72   2.20   3.84    10.42   7.0    14.4   55.6
A6000     201.6  17.92  22.91  40.04   108.5*  98.0   202.9  781.9
"""
STEPS = [decode(batch, 1024, causal=False) for batch in (1, 8, 32, 128)]
STEPS += [prefill(batch, sequence, causal=False) for batch, sequence in ((1, 1024), (1, 2048), (8, 1024))]
CELLS = [
    (line.split()[0], step, cell)
    for line in FLOORS.strip().splitlines()
    for step, cell in zip(STEPS, line.split()[2:], strict=True)
]


@pytest.mark.parametrize(("gpu", "step", "cell"), CELLS)
def test_floors(gpu, step, cell):
    digits = len(cell.strip("*").partition(".")[2])
    floor_ns = sum(row.step_ns for row in analyse(LLAMA, step, GPUS[gpu]).rows if row.name != "embedding")
    assert f"{floor_ns / 1e6:.{digits}f}" == cell.strip("*")
    if step.new_tokens == 1:
        assert (largest_batch(LLAMA, step, GPUS[gpu], utilisation=1) < step.batch) == cell.endswith("*")


@pytest.mark.parametrize("line", FLOORS.strip().splitlines())
def test_ridges(line):
    gpu, ridge = line.split()[:2]
    assert GPUS[gpu].ridge() == pytest.approx(float(ridge), abs=0.5 if "." not in ridge else 0.051)


# LLM-Viewer, A6000 as it has it (309.677 / 2 TFLOP/s), b = 1, s = 2048, µs a layer; without its norm (7 an element)
LLM_VIEWER_US = [
    (prefill, "q", 443.814, "compute"),
    (prefill, "gate", 1192.750, "compute"),
    (prefill, "q kᵀ", 393.216, "memory"),
    (prefill, "softmax", 699.051, "memory"),
    (decode, "q", 43.712, "memory"),
    (decode, "gate", 117.458, "memory"),
    (decode, "q kᵀ", 22.027, "memory"),
]


@pytest.mark.parametrize(("phase", "name", "us", "bound"), LLM_VIEWER_US)
def test_llm_viewer_times(phase, name, us, bound):
    step = phase(1, 2048, attention="eager", fused=False)
    row = next(row for row in analyse(LLAMA, step, own_limits("154.8385,768")).rows if row.name == name)
    assert row.floor_ns / 1000 == pytest.approx(us, abs=0.001)
    assert row.bound == bound


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(sorted(PRESETS)),
    st.sampled_from(sorted(GPUS)),
    st.sampled_from(["bf16", "fp8", "int4"]),
    st.integers(1, 300),
    st.integers(1, 4096),
    st.sampled_from([prefill, decode]),
)
def test_totals_are_sums_and_floors_are_floors(model, gpu, precision, batch, sequence, phase):
    roofline = analyse(PRESETS[model], phase(batch, sequence, precision=precision), GPUS[gpu])
    layers = PRESETS[model].layers
    once = ("embedding", "final norm", "lm head")
    assert roofline.flops == sum((1 if row.name in once else layers) * row.flops for row in roofline.rows)
    assert roofline.bytes == pytest.approx(
        sum((1 if row.name in once else layers) * row.bytes for row in roofline.rows)
    )
    assert math.fsum(roofline.share(row) for row in roofline.rows) == pytest.approx(1)
    assert roofline.floor_ns >= max(roofline.compute_ns, roofline.memory_ns) * (1 - 1e-12)
    assert roofline.floor_ns <= roofline.compute_ns + roofline.memory_ns
    for row in roofline.rows:
        assert row.bound == "memory" or row.intensity >= GPUS[gpu].ridge() * (1 - 1e-12)
        assert row.floor_ns == pytest.approx(row.bytes / GPUS[gpu].bandwidth.value) or row.bound == "compute"


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["llama-2-7b", "llama-3.1-70b", "mixtral-8x7b-v0.1", "gpt2-xl"]),
    st.sampled_from(sorted(GPUS)),
    st.integers(1, 4096),
    st.sampled_from(["attention", "down", "out", None]),
)
def test_the_turning_batch_is_the_first(model, gpu, context, name):
    def bound(batch):
        roofline = analyse(PRESETS[model], decode(batch, context), GPUS[gpu])
        return (roofline if name is None else next(row for row in roofline.rows if row.name == name)).bound

    batch = compute_bound_batch(PRESETS[model], decode(1, context), GPUS[gpu], name)
    if batch is None:
        assert bound(1 << 20) == "memory"
    else:
        assert bound(batch) == "compute"
        assert batch == 1 or bound(batch - 1) == "memory"


def test_a_square_matrix_turns_where_the_formula_says():
    """2th² / (2h² + 4th) ≥ ridge gives t ≥ ridge·h / (h − 2·ridge): 165.3 on an A100."""
    ridge = GPUS["A100-80G"].ridge()
    batch = compute_bound_batch(LLAMA, decode(1, 1024), GPUS["A100-80G"], "out")
    assert batch == math.ceil(ridge * 4096 / (4096 - 2 * ridge)) == 166


def test_attention_of_a_decode_step_is_bound_by_memory_at_any_batch():
    assert compute_bound_batch(LLAMA, decode(1, 1024), GPUS["A100-80G"], "attention") is None
    assert compute_bound_batch(LLAMA, decode(1, 1024), GPUS["A100-80G"]) is None  # it fills the whole step


def test_fp8_weights_use_fp8_tensor_cores_where_there_are_any():
    step = prefill(8, 1024, precision="fp8")
    for gpu, faster in (("H100-SXM", 2.0001), ("A100-80G", 1.0)):
        rows = {row.name: row for row in analyse(LLAMA, step, GPUS[gpu]).rows}
        plain = {row.name: row for row in analyse(LLAMA, prefill(8, 1024), GPUS[gpu]).rows}
        assert plain["down"].compute_ns / rows["down"].compute_ns == pytest.approx(faster, abs=1e-4)
        assert plain["attention"].compute_ns == rows["attention"].compute_ns


def test_sizes():
    assert kv_bytes_per_token(LLAMA) == 524_288
    assert kv_bytes_per_token(PRESETS["llama-2-13b"]) == 819_200
    assert kv_bytes_per_token(PRESETS["llama-3.1-8b"]) == 131_072
    assert weight_bytes(LLAMA, "bf16") == 2 * 6_738_415_616
    assert weight_bytes(LLAMA, "fp8") == 6_738_415_616 + 2 * 4096 * 32000 + 65 * 4096


def test_the_largest_batch_takes_whole_blocks():
    free = 80e9 * 0.9 - 2 * 6_738_415_616
    gpu = GPUS["A100-80G"]
    assert largest_batch(LLAMA, decode(1, 1024), gpu) == int(free // (1024 * 524_288)) == 109
    assert largest_batch(LLAMA, decode(1, 1025), gpu) == int(free // (1040 * 524_288))
    assert largest_batch(LLAMA, decode(1, 1025, kv_cache="blocked"), gpu) == int(free // (1088 * 524_288))
    assert largest_batch(PRESETS["llama-3.1-70b"], decode(1, 1), gpu) == 0
    assert largest_batch(LLAMA, decode(1, 1024), own_limits("100,1000")) is None


def test_each_phase_waits_for_its_own_limit():
    gpu = GPUS["H100-SXM"]
    slower = {
        name: dataclasses.replace(gpu, **{name: dataclasses.replace(limit, value=limit.value / 2)})
        for name, limit in (("bf16", gpu.bf16), ("bandwidth", gpu.bandwidth))
    }
    times = {
        (name, step.new_tokens): analyse(LLAMA, step, less).floor_ns / analyse(LLAMA, step, gpu).floor_ns
        for name, less in slower.items()
        for step in (decode(8, 1024), prefill(8, 1024))
    }
    assert times["bf16", 1] == pytest.approx(1)
    assert times["bandwidth", 1] == pytest.approx(2)
    assert times["bf16", 1024] > 1.8
    assert times["bandwidth", 1024] < 1.2
