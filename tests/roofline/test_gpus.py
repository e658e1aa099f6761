"""The table of GPUs: found by the names people use, every number with its source."""

import pytest

from loadgen.errors import BadInputError
from loadgen.roofline.gpus import GPUS, find_gpu, own_limits


def test_every_limit_names_its_source():
    for gpu in GPUS.values():
        for limit in (gpu.bf16, gpu.fp8, gpu.bandwidth, gpu.memory):
            assert limit is None or len(limit.source) > 10


def test_no_sparse_peak_stands_as_a_dense_one():
    sparse = {142.3, 330.4, 242, 309.7, 624, 733, 1979, 4500}
    assert not {gpu.bf16.value for gpu in GPUS.values()} & sparse
    assert all(gpu.fp8 is None or 1.9 < gpu.fp8.value / gpu.bf16.value < 2.1 for gpu in GPUS.values())


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("H200", "H200-SXM"),
        ("h100", "H100-SXM"),
        ("NVIDIA H100-SXM", "H100-SXM"),
        ("RTX 4090", "RTX-4090"),
        ("rtx-3090", "RTX-3090"),
        ("3090", "RTX-3090"),
        ("A100", "A100-80G"),
        ("a100-40gb", "A100-40G"),
        ("A800", "A800"),
        ("RTX A6000", "A6000"),
        ("L4", "L4"),
        ("l40s", "L40S"),
        ("B200", "B200"),
    ],
)
def test_names_as_people_write_them(written, name):
    assert find_gpu(written).name == name


@pytest.mark.parametrize(
    ("written", "guess"), [("H20", "H200"), ("L40", "L4"), ("RTX 4080", "RTX-"), ("", ""), ("TPU v5", "")]
)
def test_unknown_gpus_get_a_guess(written, guess):
    with pytest.raises(BadInputError, match="not known") as raised:
        find_gpu(written)
    assert guess in raised.value.hint.partition("?")[0]
    assert "B200" in raised.value.hint


def test_own_limits():
    gpu = own_limits("820,4100")
    assert (gpu.bf16.value, gpu.bandwidth.value, gpu.ridge(), gpu.memory) == (820, 4100, 200, None)
    measured = own_limits("494.7,4000", GPUS["H200-SXM"])
    assert measured.memory == GPUS["H200-SXM"].memory
    assert measured.tflops("fp8") == pytest.approx(1978.9 / 2)
    assert own_limits("100,1000", GPUS["A100-80G"]).tflops("fp8") == 100


@pytest.mark.parametrize("text", ["", "820", "820,", "820,4100,1", "a,b", "0,5", "5,-1", "nan,5", "inf,5"])
def test_bad_limits(text):
    with pytest.raises(BadInputError) as raised:
        own_limits(text)
    assert raised.value.hint
