"""Damaged files: whatever byte is changed and wherever a file is cut, a loader refuses with a sentence, or gives a
trace that keeps every promise. Never another exception, never a hang."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from invariants import check
from sources import SERVEGEN, SOURCES

from loadgen.errors import BadInputError
from loadgen.trace.figures import inspect
from loadgen.trace.load import load_trace
from loadgen.trace.samples import samples

FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = (
    b"",
    b"\n",
    b"\x00",
    b"\xff",
    b'"',
    b"{",
    b"]",
    b"-1",
    b"1e400",
    b"NaN",
    b"null",
    b"9" * 30,
    b",",
    b"0",
    b"\xf0\x9f",
)


@st.composite
def damage(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Where (as a share of the file), how many bytes go, and what comes instead."""
    piece = st.one_of(st.sampled_from(PIECES), st.binary(max_size=4))
    return draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), piece), min_size=1, max_size=4))


def damaged(data: bytes, harm: list[tuple[float, int, bytes]], cut: float | None) -> bytes:
    for where, length, piece in harm:
        place = int(where * len(data))
        data = data[:place] + piece + data[place + length :]
    return data if cut is None else data[: int(cut * len(data))]


def read(path: Path) -> None:
    try:
        trace = load_trace(path, epoch=0)
    except BadInputError:
        return
    check(trace)
    inspect(trace, 1000)


@pytest.mark.parametrize("name", SOURCES)
@given(harm=damage(), cut=st.one_of(st.none(), st.floats(0, 1)))
@FUZZ
def test_a_damaged_file_is_refused_or_read(
    name: str, tmp_path: Path, harm: list[tuple[float, int, bytes]], cut: float
) -> None:
    file, data = SOURCES[name]
    path = tmp_path / file
    path.write_bytes(damaged(data, harm, cut))
    read(path)


@pytest.mark.parametrize("name", sorted(samples()))
@given(harm=damage(), cut=st.one_of(st.none(), st.floats(0, 1)))
@settings(parent=FUZZ, max_examples=15)
def test_a_damaged_sample_is_refused_or_read(
    name: str, tmp_path: Path, harm: list[tuple[float, int, bytes]], cut: float
) -> None:
    path = tmp_path / samples()[name].name
    path.write_bytes(damaged(samples()[name].read_bytes(), harm, cut))
    read(path)


@pytest.mark.parametrize("part", SERVEGEN)
@given(harm=damage(), cut=st.one_of(st.none(), st.floats(0, 1)))
@settings(parent=FUZZ, max_examples=25)
def test_a_damaged_client_is_refused_or_drawn_from(
    part: str, tmp_path: Path, harm: list[tuple[float, int, bytes]], cut: float
) -> None:
    for name, data in SERVEGEN.items():
        (tmp_path / name).write_bytes(damaged(data, harm, cut) if name == part else data)
    read(tmp_path)


@given(data=st.binary(max_size=300))
@example(data=b"\x1f\x8b")
@example(data=b"PAR1")
@example(data=b"PAR1" + bytes(30) + b"PAR1")
@example(data=b"[" * 100_000)
@example(data=b'{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":' + b"[" * 50_000)
@FUZZ
def test_any_bytes_are_refused_or_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    read(path)


@pytest.mark.parametrize("name", SOURCES)
def test_compressed_is_the_same(name: str, tmp_path: Path) -> None:
    file, data = SOURCES[name]
    plain, packed = tmp_path / file, tmp_path / f"{file}.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    one, other = load_trace(plain), load_trace(packed)
    check(one)
    assert one.arrival_ns.tolist() == other.arrival_ns.tolist()
    assert one.survey.format == other.survey.format
