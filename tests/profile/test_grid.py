"""Order of the grid, copies and samples of a timing, GPUs by their drivers' names: arithmetic without torch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.profile.grid import PREFILL_TOKENS_MAX, coarse_first
from loadgen.profile.kernels import KERNELS
from loadgen.profile.recognise import recognise
from loadgen.profile.timing import (
    CALLS_MAX,
    SAMPLES_MIN,
    Effort,
    copies_needed,
    copies_that_fit,
    plan_calls,
    stays_cached,
    summarise,
)
from loadgen.profile.works import STACKS, Tools, pair_works, rows_and_works, stack_step
from loadgen.roofline.gpus import find_gpu
from loadgen.roofline.transformer import PRESETS

BATCHES, LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256), (128, 256, 512, 1024, 2048, 4096)


def test_the_corners_of_the_grid_come_first():
    order = coarse_first(("prefill", "decode"), BATCHES, LENGTHS)
    assert len(set(order)) == len(order)
    assert {(b, s) for phase, b, s in order if phase == "decode"} == {(b, s) for b in BATCHES for s in LENGTHS}
    assert max(b * s for phase, b, s in order if phase == "prefill") == PREFILL_TOKENS_MAX
    start = {(b, s) for phase, b, s in order[:12] if phase == "decode"}
    assert {(1, 4096), (256, 4096), (1, 256), (256, 256), (16, 4096)} <= start


@given(cache=st.integers(1, 10**8), call=st.floats(1, 1e11))
def test_the_copies_sweep_the_cache_or_say_that_they_do_not(cache, call):
    copies = copies_needed(cache, call)
    assert 1 <= copies <= 64
    assert copies * call >= 3 * cache or copies == 64
    assert stays_cached(cache, call, copies) == (copies * call <= cache)


@given(wanted=st.integers(1, 64), copy=st.floats(0, 1e11), free=st.floats(0, 1e11))
def test_the_copies_leave_half_of_the_memory_or_are_one(wanted, copy, free):
    copies = copies_that_fit(wanted, copy, free)
    assert 1 <= copies <= wanted
    assert (copies - 1) * copy <= free / 2 * (1 + 1e-9)
    assert copies == wanted or copies * max(1, copy) >= free / 2 * (1 - 1e-9)
    assert copies_that_fit(wanted, copy, float("inf")) == wanted


@given(once=st.floats(1, 1e10), copies=st.integers(1, 64))
def test_a_sample_is_whole_rounds_over_the_copies(once, copies):
    calls, samples = plan_calls(once, copies, Effort())
    assert calls % copies == 0
    assert copies <= calls <= max(CALLS_MAX, copies)
    assert SAMPLES_MIN <= samples <= 20
    assert samples == SAMPLES_MIN or samples * calls * once <= 200e6


def test_the_summary_of_samples_is_of_one_call():
    timing = summarise([100.0, 200.0, 300.0, 400.0, 500.0], 10, "graph", cached=False)
    assert (timing.median_ns, timing.samples, timing.calls) == (30.0, 5, 10)
    assert timing.p5_ns == pytest.approx(12)
    assert timing.p95_ns == pytest.approx(48)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("tools", [Tools(cuda=False, triton=False), Tools(cuda=True, triton=True)])
def test_every_operation_of_every_model_can_be_made(name, tools):
    for stack in STACKS:
        for phase in ("prefill", "decode"):
            pairs = rows_and_works(PRESETS[name], stack_step(stack, phase, 2, 64), find_gpu("H200"), tools)
            assert all(works and all(work.kernel in KERNELS for work in works) for _, works in pairs)
    assert {work.dims[0] for work in pair_works(PRESETS[name], "decode", 2, 64, tools)} == {
        "concatenated",
        "blocked",
        "paged",
    }


@pytest.mark.parametrize(
    ("driver", "gigabytes", "name"),
    [
        ("NVIDIA H200", 141, "H200-SXM"),
        ("NVIDIA H100 80GB HBM3", 80, "H100-SXM"),
        ("NVIDIA A100-SXM4-40GB", 40, "A100-40G"),
        ("NVIDIA A100-SXM4-80GB", 80, "A100-80G"),
        ("NVIDIA GeForce RTX 4090", 24, "RTX-4090"),
        ("NVIDIA H100 PCIe", 80, None),
        ("NVIDIA GH200 480GB", 96, None),
        ("CPU", 0, None),
    ],
)
def test_a_gpu_is_known_by_its_drivers_name(driver, gigabytes, name):
    found = recognise(driver, gigabytes * 10**9)
    assert (found.name if found else None) == name
