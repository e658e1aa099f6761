"""The run folder: which file is where, and how a run that was cut is read.

A run folder is readable at any moment: what is written is written in whole blocks, and a torn last block is left out.
"""

import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loadgen.errors import RunFolderError
from loadgen.records.schema import RECORD, TELEMETRY
from loadgen.records.texts import Texts

MANIFEST = "manifest.json"
PLAN = "plan.arrow"
RECORDS = "records"
TELEMETRY_FILE = "telemetry.arrows"
HISTOGRAMS = "histograms.hlog"
SUMMARY = "summary.json"
REPORT = "report.html"
PARQUET = "records.parquet"
ENGINE_LOG = "engine.log"
_ROW_GROUP, _ROW_GROUP_BYTES_MIN = 8192, 1 << 20  # requests, or bytes of them: see `_room`


def create(folder: Path) -> None:
    """Make a new run folder. Raises RunFolderError when it exists or cannot be made."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise RunFolderError(
            f"The folder {folder} exists already.", "Choose another with --out, or move it away."
        ) from None
    except OSError as error:
        raise RunFolderError(
            f"Cannot make the folder {folder}: {error.strerror}.", "Choose another place with --out."
        ) from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file in one step: a reader sees the old one or the new one, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as sink:
        sink.write(msgspec.json.format(msgspec.json.encode(content), indent=1))
        sink.write(b"\n")
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Raises RunFolderError with a sentence when the file is missing or is no JSON object."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} has no {path.name}.", "Give the folder of a run or of a sweep.") from None
    except OSError as error:
        raise RunFolderError(f"Cannot read {path}: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise RunFolderError(f"{path} is not JSON: {error}.", "It was not written by loadgen, or was edited.") from None
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} holds no JSON object.", "It was not written by loadgen, or was edited.")
    return content


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole record batches of an Arrow IPC stream; a torn end is left out, an empty file has none."""
    with path.open("rb") as source:
        try:
            reader = pa.ipc.open_stream(source)
            yield from reader
        except (pa.ArrowInvalid, OSError, EOFError, StopIteration):
            return


def record_files(folder: Path) -> list[Path]:
    """One file per worker."""
    return sorted((folder / RECORDS).glob("*.arrows"))


def read_records(folder: Path) -> Iterator[pa.RecordBatch]:
    """All records of a run, batch by batch, worker after worker."""
    for path in record_files(folder):
        yield from read_batches(path)


def read_telemetry(folder: Path, client: Collection[str] | None = None) -> pa.Table | None:
    """Client and server gauges, or None when there are none; texts are dictionaries: 24 bytes a reading.

    `client`: which gauges of the load process are wanted, where not all are; it writes seventeen, ten times a second.
    """
    path = folder / TELEMETRY_FILE
    time_ns, value, source, name = bytearray(), bytearray(), Texts(), Texts()  # they grow in place
    for batch in read_batches(path) if path.exists() else ():
        if client is not None:
            wanted = pc.is_in(batch["name"], pa.array(client, pa.string()))
            batch = batch.filter(pc.or_(pc.not_equal(batch["source"], "client"), wanted))
        time_ns += batch["time_ns"].to_numpy().tobytes()
        value += batch["value"].to_numpy().tobytes()
        source.add(batch["source"])
        name.add(batch["name"])
    if not time_ns:
        return None
    columns = (np.frombuffer(time_ns, np.int64), source.encoded(), name.encoded(), np.frombuffer(value, np.float64))
    return pa.table(dict(zip(TELEMETRY.names, columns, strict=True)))


def to_parquet(folder: Path) -> None:
    """Turn the records into one Parquet file for other tools: `records.parquet`, derived and replaceable."""
    import pyarrow.parquet as pq

    target = folder / PARQUET
    temporary = target.with_name(target.name + ".tmp")
    texts = [each.name for each in RECORD if pa.types.is_string(each.type)]
    writer: pq.ParquetWriter | None = None
    for rows in _gathered(read_records(folder), _room(sum(each.stat().st_size for each in record_files(folder)))):
        if writer is None:
            # A dictionary of stamps, no two alike, is a second copy of them; their steps take half the room.
            steps = {"token_ns.list.element": "DELTA_BINARY_PACKED"}
            writer = pq.ParquetWriter(
                temporary, rows.schema, compression="zstd", use_dictionary=texts, column_encoding=steps
            )
        writer.write_table(rows)
    if writer is not None:
        writer.close()
        temporary.replace(target)


def _room(size: int) -> int:
    """Bytes for a group of rows, of `size` in all: it needs seven times that while it is packed, and 47 kB until the
    end of the file for where it stands and what its extremes are; both together are least here."""
    return max(_ROW_GROUP_BYTES_MIN, math.isqrt(size * 47_000 // 7))


def _gathered(batches: Iterator[pa.RecordBatch], room: int) -> Iterator[pa.Table]:
    """A second's batch is too small for a group of rows of its own; all of a run would be held in memory."""
    gathered: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        gathered.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _ROW_GROUP or size >= room:
            yield pa.Table.from_batches(gathered)
            gathered, rows, size = [], 0, 0
    if gathered:
        yield pa.Table.from_batches(gathered)
