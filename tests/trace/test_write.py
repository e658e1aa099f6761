"""What is written is read again as it was: ours without loss, the others as far as their format goes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from invariants import COLUMNS, check
from made_traces import trace, traces
from sources import SOURCES

from loadgen.errors import BadInputError
from loadgen.trace.chains import hit_tokens
from loadgen.trace.load import load_trace
from loadgen.trace.samples import samples
from loadgen.trace.table import Trace
from loadgen.trace.write import write


def same(one: Trace, other: Trace) -> None:
    for name in COLUMNS:
        if name not in ("row", "model"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    assert [one.models[k] for k in one.model] == [other.models[k] for k in other.model]
    assert sorted(one.joins.tolist()) == sorted(other.joins.tolist())
    assert one.zero == other.zero
    assert (one.blocks is None) == (other.blocks is None)
    if one.blocks is not None and other.blocks is not None:
        assert (one.blocks.size, one.blocks.partial_last) == (other.blocks.size, other.blocks.partial_last)
        assert one.blocks.offsets.tolist() == other.blocks.offsets.tolist()
        assert one.blocks.ids.tolist() == other.blocks.ids.tolist()
    assert (list(one.texts) if one.texts else None) == (list(other.texts) if other.texts else None)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", [*SOURCES, *sorted(samples())])
def test_ours_loses_nothing(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name in SOURCES:
        path = tmp_path / SOURCES[name][0]
        path.write_bytes(SOURCES[name][1])
    else:
        path = samples()[name]
    one = load_trace(path)
    out = tmp_path / f"out.{ending}"
    assert write(one, "loadgen", out) == []
    other = load_trace(out)
    check(other)
    same(one, other)
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".part"] == []


@given(made=traces())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ours_loses_nothing_of_any_trace(made: Trace, tmp_path: Path) -> None:
    write(made, "loadgen", tmp_path / "x.jsonl")
    other = load_trace(tmp_path / "x.jsonl")
    check(other)
    for name in ("arrival_ns", "parent", "edge", "input_tokens", "output_tokens", "status"):
        assert getattr(made, name).tolist() == getattr(other, name).tolist(), name


@pytest.mark.parametrize("form", ["mooncake", "vllm"])
def test_mooncakes_form_keeps_lengths_and_sharing(form: str, tmp_path: Path) -> None:
    one = load_trace(Path("weka-subagents"))
    told = write(one, form, tmp_path / "m.jsonl")
    assert any("64 tokens" in each for each in told)
    assert any("Sessions" in each for each in told)
    other = load_trace(tmp_path / "m.jsonl")
    check(other)
    assert other.blocks is not None
    assert one.blocks is not None
    assert (other.blocks.size, other.blocks.partial_last) == (64, True)
    assert other.input_tokens.tolist() == one.input_tokens.tolist()
    assert hit_tokens(other.blocks, other.input_tokens).sum() == hit_tokens(one.blocks, one.input_tokens).sum()
    assert np.abs(other.arrival_ns - one.arrival_ns).max() <= (500_000 if form == "mooncake" else 0)


def test_vllms_form_keeps_every_ns_and_says_how_to_play_it(tmp_path: Path) -> None:
    made = trace([0, 0.000000001, 1.5], input_tokens=[5, 600, 0])
    told = write(made, "vllm", tmp_path / "v.jsonl")
    text = (tmp_path / "v.jsonl").read_text()
    assert '"timestamp":0.000001,' in text
    assert '"timestamp":1500,' in text
    assert "--timed-trace-chunk-hash-size 512 --timed-trace-sec-multiplier 0.001" in told[-1]
    other = load_trace(tmp_path / "v.jsonl")
    assert other.arrival_ns.tolist() == [0, 1, 1_500_000_000]
    assert other.blocks is not None
    assert np.diff(other.blocks.offsets).tolist() == [1, 2, 0]


def test_unknown_lengths_are_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="1 requests have a length that is not known"):
        write(trace([0, 1], output_tokens=[5, -1]), "mooncake", tmp_path / "m.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be written"):
        write(trace([0.0]), "loadgen", tmp_path / "no" / "folder.jsonl")
