"""A column of texts that grows: every distinct one once, four bytes a row, and nothing of the batches it came in.

A slice of an Arrow batch keeps the whole of it alive, token lists and all; this is why texts are taken out.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Texts:
    """`add` the column of each batch; a null is the empty text."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows = bytearray()

    def add(self, column: pa.Array) -> None:
        encoded = column.fill_null("").dictionary_encode()
        known = self._numbers
        numbers = np.array([known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()], np.int32)
        self._rows += numbers[encoded.indices.to_numpy(zero_copy_only=False)].tobytes() if len(encoded) else b""

    def objects(self) -> npt.NDArray[np.object_]:
        """The column as a numpy array of str."""
        return np.array([*self._numbers, ""], dtype=object)[np.frombuffer(self._rows, np.int32)]

    def encoded(self) -> Any:
        """The column as an Arrow dictionary, of one chunk."""
        return pa.DictionaryArray.from_arrays(
            pa.array(np.frombuffer(self._rows, np.int32)), pa.array([*self._numbers], pa.string())
        )
