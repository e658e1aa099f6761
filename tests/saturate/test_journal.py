"""The journal: what is written reads back exactly, and a line that a crash tore is made good."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.sequential import Interval
from loadgen.errors import RunFolderError
from loadgen.search import journal
from loadgen.search.journal import Entry
from loadgen.search.probe import Judged, Kind, Probe, Purpose

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def entry(level: float = 1 / 3, value: float = 0.1) -> Entry:
    judged = Judged(5, 4, 1, 2e9, 1e9, 2e9, throughput=Interval(value, value / 7, 11), verdict="stable", problem="")
    return Entry(
        "01-open", Probe(Kind.OPEN, level, Purpose.INSIDE, 1e9, 9e9, 3.3, 0.03, decide=True), judged, {"a": "b"}
    )


@given(NUMBERS, NUMBERS)
def test_what_is_written_reads_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, level: float, value: float
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    for each in (entry(level, value), entry(value, level)):
        journal.append(folder, each)
    assert journal.read(folder) == [entry(level, value), entry(value, level)]


def test_a_torn_line_is_left_out_and_gone_when_the_search_goes_on(tmp_path: Path) -> None:
    journal.append(tmp_path, entry())
    whole = (tmp_path / journal.JOURNAL).read_bytes()
    for cut in range(1, len(whole) - 1):
        (tmp_path / journal.JOURNAL).write_bytes(whole + whole[:cut])
        assert journal.read(tmp_path) == [entry()]
    assert journal.mended(tmp_path) == [entry()]
    journal.append(tmp_path, entry(2.0))
    assert journal.read(tmp_path) == [entry(), entry(2.0)]


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert journal.mended(tmp_path) == []


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'{"run": 1}\n'])
def test_a_line_that_is_no_probe_is_said(line: bytes, tmp_path: Path) -> None:
    journal.append(tmp_path, entry())
    with (tmp_path / journal.JOURNAL).open("ab") as sink:
        sink.write(line)
    with pytest.raises(RunFolderError, match=r"Line 2 of .* is no probe"):
        journal.read(tmp_path)
