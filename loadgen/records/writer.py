"""Columns on their way to disk: rows gather for a second, then become one Arrow record batch, written and flushed.

A crash loses what has gathered since the last flush, no more. Disk errors are raised as RunFolderError once.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from loadgen.errors import RunFolderError

# A pool of Arrow's own keeps room for every size of column that ever came, and meets new ones for hours.
_POOL = pa.system_memory_pool()


class ColumnWriter:
    """Appends rows of one schema to an Arrow IPC stream."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns: list[list[Any]] = [[] for _ in schema]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = path.open("wb")
            self._writer = pa.ipc.new_stream(self._sink, schema)
            self._sink.flush()
        except OSError as error:
            raise disk_error(path, error) from None
        self._path = path

    def append(self, row: tuple[Any, ...]) -> None:
        """One row, in the order of the schema."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def flush(self) -> None:
        """Write what has gathered."""
        if not self._columns[0]:
            return
        columns = zip(self._columns, self._schema, strict=True)
        arrays = [pa.array(column, field.type, memory_pool=_POOL) for column, field in columns]
        try:
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
            self._sink.flush()
        except OSError as error:
            raise disk_error(self._path, error) from None
        for column in self._columns:
            column.clear()

    def close(self) -> None:
        """Write the rest and the end mark."""
        try:
            with self._sink:  # closing writes what a failed flush has left behind, and fails like it
                self.flush()
                self._writer.close()
        except OSError as error:
            raise disk_error(self._path, error) from None


def disk_error(path: Path, error: OSError) -> RunFolderError:
    """The sentence for a file of the run folder that cannot be written."""
    return RunFolderError(
        f"Cannot write {path}: {error.strerror or error}.",
        "What was written before is safe; free some space or choose another place with --out.",
    )
