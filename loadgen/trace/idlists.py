"""Lists of block ids out of JSON text, all of a piece of a file at once: millions of numbers without an object each.

The text is JSON by then (msgspec has looked it through); what is not a flat list of whole numbers from 0 goes back to
msgspec, which says what is wrong with it.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.trace.reading import BlockId, refuse
from loadgen.trace.table import Int64s

Ids = npt.NDArray[np.int32] | Int64s
_PAD = b" " * 16
_ZERO, _OPEN = 48, 91  # characters
_LIST = b"0123456789, []\t\r\n"
_EIGHT = 10**8


def id_lists(path: Path, name: str, lists: Sequence[msgspec.Raw], lines: Sequence[int]) -> tuple[Int64s, Ids]:
    """(length of each list, all ids one after the other, as 32-bit numbers where that is enough for all of them) of the
    field `name`. Raises BadInputError with the line."""
    found = _flat(lists)
    if found is not None:
        return found
    decoded = []
    for each, line in zip(lists, lines, strict=True):
        try:
            decoded.append(msgspec.json.decode(each, type=list[BlockId]))
        except msgspec.DecodeError as error:
            refuse(path, line, str(error).replace("`", "'").replace("$", name))
    return (
        np.array([len(each) for each in decoded], np.int64),
        np.array([number for each in decoded for number in each], np.int64),
    )


def _flat(lists: Sequence[msgspec.Raw]) -> tuple[Int64s, Ids] | None:
    """The same for lists of numbers of at most 16 digits; None where one is anything else."""
    text = b"".join([_PAD, *lists])
    chars = np.frombuffer(text, np.uint8)[len(_PAD) :]
    ends_of = np.cumsum(np.fromiter(map(len, lists), np.int64, len(lists)))
    starts_of = np.concatenate(([0], ends_of[:-1])) if len(lists) else ends_of
    flat = (chars[starts_of] == _OPEN).all() and np.count_nonzero(chars == _OPEN) == len(lists)
    if not flat or text.translate(None, _LIST):
        return None
    digit = np.zeros(len(chars) + 2, np.bool_)
    np.less(chars - np.uint8(_ZERO), 10, out=digit[1:-1])
    edges = np.flatnonzero(digit[1:] != digit[:-1])
    begins, ends = edges[::2], edges[1::2]
    digits = ends - begins
    most = int(digits.max(initial=0))
    if most > 16:
        return None
    values: Ids = _last_eight(text, ends, np.minimum(digits, 8))
    if most > 8:
        long = np.flatnonzero(digits > 8)
        values[long] += _EIGHT * _last_eight(text, ends[long] - 8, digits[long] - 8)
    if most <= 9:  # pieces wait for each other in memory
        values = values.astype(np.int32)
    return np.diff(np.searchsorted(begins, ends_of), prepend=0), values


def _last_eight(text: bytes, ends: Int64s, digits: Int64s) -> Int64s:
    """int64[n]: the numbers that end before `ends` (counted behind the pad) and have 1 to 8 `digits`.

    Eight characters are one 64-bit word, whose lowest byte is the first of them: pairs, then fours, then all eight.
    """
    windows = np.ndarray((len(text) - 7,), "<u8", text, strides=(1,))
    words = windows[ends + len(_PAD) - 8]
    unused = (8 * (8 - digits)).astype(np.uint64)
    words = (words >> unused << unused) & np.uint64(0x0F0F0F0F0F0F0F0F)
    words = (words * np.uint64(2561) >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    words = (words * np.uint64(6553601) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    return (words * np.uint64(42949672960001) >> np.uint64(32)).astype(np.int64)
