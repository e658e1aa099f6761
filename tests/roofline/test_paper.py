"""The paper's own formulas, digit for digit, and where they must not be trusted."""

import pytest

from loadgen.errors import BadInputError
from loadgen.roofline.bound import analyse
from loadgen.roofline.gpus import GPUS
from loadgen.roofline.paper import paper_layer, paper_layer_flops
from loadgen.roofline.step import decode, prefill
from loadgen.roofline.transformer import PRESETS

LLAMA = PRESETS["llama-2-7b"]


@pytest.mark.parametrize(
    ("step", "flops"),
    [
        (prefill(1, 1024), 431_868_084_224),
        (prefill(1, 2048), 898_364_342_272),
        (prefill(8, 1024), 3_454_944_673_792),
        (decode(1, 1024), 421_746_176),
        (decode(1, 2048), 438_654_464),
        (decode(8, 1024), 3_373_969_408),
    ],
)
def test_layer_totals(step, flops):
    assert paper_layer_flops(LLAMA, step) == flops


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("sequence", [1024, 2048])
def test_totals_are_the_closed_formulas(batch, sequence):
    b, s, h, f, n = batch, sequence, 4096, 11008, 32
    prefilled = 8 * b * s * h * h + 6 * b * s * h * f + 4 * b * s * s * (h + n) + 16 * b * s * h + 2 * b * s * f
    decoded = 8 * b * h * h + 6 * b * h * f + 4 * b * s * (h + n) + 16 * b * h + 2 * b * f
    assert paper_layer_flops(LLAMA, prefill(b, s)) == prefilled
    assert paper_layer_flops(LLAMA, decode(b, s)) == decoded


def intensities(step):
    return {order.name: order.intensity for order in paper_layer(LLAMA, step)}


def test_published_intensities_at_batch_8_sequence_1024():
    prefilled, decoded = intensities(prefill(8, 1024)), intensities(decode(8, 1024))
    assert round(prefilled["qkv"], 1) == round(prefilled["out"], 1) == 2730.7
    assert round(prefilled["gate & up"], 2) == round(prefilled["down"], 2) == 2187.93
    assert round(prefilled["attention"], 2) == 114.67
    assert round(prefilled["rope"]) == round(prefilled["add & norm (mlp)"]) == round(prefilled["swish & multiply"]) == 1
    assert round(decoded["out"], 2) == 7.98
    assert round(decoded["attention"], 3) == 0.999


def test_first_trap_2730_7_is_1638_4_when_every_byte_is_counted():
    out = next(row for row in analyse(LLAMA, prefill(8, 1024), GPUS["A100-80G"]).rows if row.name == "out")
    assert out.intensity == 1638.4
    assert intensities(prefill(8, 1024))["out"] / out.intensity == pytest.approx(1.67, abs=0.005)


def test_second_trap_142_51_is_153_0_when_gb_are_decimal():
    assert round(312e12 / (2039 * 2**30), 2) == 142.51
    assert round(GPUS["A100-80G"].ridge(), 1) == 153.0


def test_the_2730_of_batch_1_needs_batch_8():
    """A handbook quotes it for batch 1, length 1024, where the formula gives 819."""
    assert round(intensities(prefill(1, 1024))["out"]) == 819


def test_flops_agree_with_the_table_where_both_count_the_same():
    for step in (prefill(8, 1024, causal=False), decode(8, 1024)):
        ours = {row.name: row.flops for row in analyse(LLAMA, step, GPUS["A100-80G"]).rows}
        theirs = {order.name: order.flops for order in paper_layer(LLAMA, step)}
        assert ours["rope"] == theirs.pop("rope")  # 6bsh: 3 for each element of Q and of K
        assert all(ours[name] == flops for name, flops in theirs.items())


def test_a_concatenated_cache_grows_with_the_sequence():
    orders = {order.name: order.mops for order in paper_layer(LLAMA, decode(8, 1024, kv_cache="concatenated"))}
    assert orders["kv concat"] == 8 * 1024 * 4096
    orders = {order.name: order.mops for order in paper_layer(LLAMA, decode(8, 1024))}
    assert orders["kv write"] == 8 * 4096


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b-v0.1", "opt-6.7b"])
def test_other_shapes_are_refused(name):
    with pytest.raises(BadInputError, match=name) as raised:
        paper_layer(PRESETS[name], prefill(1, 10))
    assert raised.value.hint
