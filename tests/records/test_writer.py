"""What is on disk is readable at every moment: whatever is cut off, what stands before it is whole."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from loadgen.errors import ExitCode, RunFolderError
from loadgen.records import folder
from loadgen.records.schema import TELEMETRY
from loadgen.records.writer import ColumnWriter

BATCHES, ROWS = 6, 20
FULL = Path("/dev/full")


def row(number: int) -> tuple[int, str, str, float]:
    return number, "client", f"gauge_{number % 3}", number / 2


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "er" / "x.arrows"
    writer = ColumnWriter(path, TELEMETRY)
    for batch in range(BATCHES):
        for number in range(batch * ROWS, (batch + 1) * ROWS):
            writer.append(row(number))
        writer.flush()
    writer.close()
    return path


def rows(batches: Iterator[pa.RecordBatch]) -> list[tuple[object, ...]]:
    return [tuple(one.values()) for batch in batches for one in batch.to_pylist()]


def test_what_was_appended_comes_back(written: Path) -> None:
    assert rows(folder.read_batches(written)) == [row(number) for number in range(BATCHES * ROWS)]


def test_cut_anywhere_a_prefix_of_whole_batches_is_left(written: Path) -> None:
    whole = written.read_bytes()
    lengths = set()
    for size in [*range(0, len(whole), 17), *range(len(whole) - 20, len(whole) + 1)]:
        written.write_bytes(whole[:size])
        found = rows(folder.read_batches(written))
        assert found == [row(number) for number in range(len(found))]
        assert len(found) % ROWS == 0
        lengths.add(len(found))
    assert lengths == {batch * ROWS for batch in range(BATCHES + 1)}


def test_what_was_flushed_is_there_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "x.arrows"
    writer = ColumnWriter(path, TELEMETRY)
    assert rows(folder.read_batches(path)) == []
    writer.append(row(0))
    assert rows(folder.read_batches(path)) == []
    writer.flush()
    writer.flush()  # nothing new: no empty batch
    writer.append(row(1))
    assert [batch.num_rows for batch in folder.read_batches(path)] == [1]
    writer.close()
    assert rows(folder.read_batches(path)) == [row(0), row(1)]


def test_garbage_is_no_records(tmp_path: Path) -> None:
    path = tmp_path / "x.arrows"
    for content in (b"", b"\0", b"x" * 1000, b"\xff" * 100, b"\xff\xff\xff\xff\x10\0\0\0"):
        path.write_bytes(content)
        assert list(folder.read_batches(path)) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"^Cannot write .*x\.arrows: (Not a directory|File exists)\.$"):
        ColumnWriter(tmp_path / "file" / "x.arrows", TELEMETRY)


def test_a_disk_that_fills_while_writing_is_one_sentence(tmp_path: Path) -> None:
    if not FULL.exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "x.arrows"
    writer = ColumnWriter(path, TELEMETRY)
    with FULL.open("wb", buffering=0) as full:
        os.dup2(full.fileno(), writer._sink.fileno())
    writer.append(row(0))
    with pytest.raises(RunFolderError, match=r"^Cannot write .*x\.arrows: No space left on device\.$") as caught:
        writer.flush()
    assert caught.value.exit_code is ExitCode.USAGE
    assert "--out" in caught.value.hint
    with pytest.raises(RunFolderError, match=r"x\.arrows: No space left on device\.$"):
        writer.close()
