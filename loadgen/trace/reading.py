"""Files in, columns out: what all loaders share. Compressed or not, in bounded pieces, and never through a float.

A broken file is refused with its line and the reason. Nothing here knows a format.
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from loadgen.errors import BadInputError
from loadgen.trace.table import Int64s

TOKENS_MAX = 100_000_000  # of one request: what is beyond was never served, and sums stay far from 2⁶³
HEAD_BYTES = 1 << 20  # a server writes much into its log before the first request
_PIECE_BYTES = 1 << 20  # with what becomes of it, about what a processor's cache holds
_GZIP = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Tokens = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]
BlockId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """What a format is told by: the first bytes, unpacked, and the names in a folder."""

    path: Path
    data: bytes = b""  # without a byte order mark
    names: tuple[str, ...] = ()
    line: bytes = b""  # the first, without its end
    record: dict[str, Any] = field(default_factory=dict)  # the first line as a JSON object; empty where it is none


def head_of(path: Path) -> Head:
    """The beginning of a file, or the names in a folder. Raises BadInputError."""
    if path.is_dir():
        return Head(path, names=tuple(sorted(each.name for each in path.iterdir())))
    with open_bytes(path) as file:
        return _told_by(path, guarded(path, lambda: file.read(HEAD_BYTES)))


def _told_by(path: Path, data: bytes) -> Head:
    data = data.removeprefix(BYTE_ORDER_MARK)
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    return Head(path, data, line=line, record=found if isinstance(found, dict) else {})


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where it is gzip, whatever its name says. Raises BadInputError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.", "Give the path of a trace.") from error


def guarded(path: Path, read: Callable[[], T]) -> T:
    """What `read` gives; a torn or false gzip file becomes a sentence."""
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInputError(f"{path} is compressed and damaged: {error}.", "Fetch it again.") from error


def refuse(path: Path, line: int, reason: str, hint: str = "") -> NoReturn:
    """The file is broken at a line, counted from 1."""
    raise BadInputError(f"{path}, line {line:,}: {reason}.", hint or "Mend the file, or take the line out.")


def digest(path: Path) -> str:
    """sha256 of a file, of a folder the digest over its files' names and digests."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for each in sorted(each for each in path.iterdir() if each.is_file()):
        total.update(f"{each.name} {digest(each)}\n".encode())
    return total.hexdigest()


def pieces_of_lines(path: Path) -> Iterator[tuple[range, bytes]]:
    """(numbers of its lines, whole lines) of a text file, some megabytes at a time; the last line may lack its end."""
    number, begun = 1, [b""]
    with open_bytes(path) as file:
        while piece := guarded(path, lambda: file.read(_PIECE_BYTES)):
            if begun == [b""] and number == 1:
                piece = piece.removeprefix(BYTE_ORDER_MARK)
            if cut := piece.rfind(b"\n") + 1:
                text = b"".join([*begun, memoryview(piece)[:cut]])
                lines = range(number, number + text.count(b"\n"))
                yield lines, text
                number, begun = lines.stop, [piece[cut:]]
            else:
                begun.append(piece)
        if text := b"".join(begun):
            yield range(number, number + 1), text


def exact_ns(path: Path, values: Sequence[Decimal], lines: Sequence[int] | Int64s, digits: int) -> Int64s:
    """Decimal numbers of a unit that has 10^digits ns (9: seconds, 6: ms), as whole ns. Raises BadInputError."""
    if not len(values):
        return np.zeros(0, np.int64)
    kind = pa.decimal128(18 + digits, digits)
    try:
        return _unscaled(pa.array(values, kind))
    except (pa.ArrowInvalid, OverflowError, ValueError):  # digits below a nanosecond, or no number of ours
        exact = []
        for value, line in zip(values, lines, strict=True):
            if not value.is_finite() or abs(value) >= Decimal(2**62).scaleb(-digits):
                refuse(path, int(line), f"{value} is no time")
            exact.append(int(value.scaleb(digits).to_integral_value(ROUND_HALF_EVEN)))
        return np.array(exact, np.int64)


def _unscaled(decimals: Any) -> Int64s:
    """The whole number behind each 128-bit decimal; ValueError where it needs more than 62 bits."""
    words = np.frombuffer(decimals.buffers()[1], np.int64)[2 * decimals.offset :][: 2 * len(decimals)]
    low, high = words[::2], words[1::2]
    if not np.array_equal(high, low >> 63) or np.any(np.abs(low) >= 2**62):
        raise ValueError
    return low.copy()


@dataclass(frozen=True, slots=True)
class Csv:
    """Columns of a CSV file as text; row k stands in line k + 2."""

    path: Path
    table: Any  # pyarrow.Table of strings

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def texts(self, name: str) -> Any:
        """A column as one pyarrow array of strings."""
        return _one(self.table.column(name))

    def whole(self, name: str, low: int = 0, high: int = TOKENS_MAX) -> Int64s:
        """A column of whole numbers within low … high. Raises BadInputError."""
        found: Int64s = self._convert(name, lambda texts: _one(texts.cast(pa.int64())).to_numpy(), "no whole number")
        wrong = (found < low) | (found > high)
        if wrong.any():
            place = int(np.argmax(wrong))
            refuse(self.path, place + 2, f"{name} {found[place]:,} is not within {low:,} … {high:,}")
        return found

    def seconds(self, name: str) -> Int64s:
        """A column of decimal seconds, in ns. Raises BadInputError."""
        return self._convert(
            name, lambda texts: _unscaled(_one(texts.cast(pa.decimal128(28, 9)))), "no time in seconds"
        )

    def stamps(self, name: str) -> Int64s:
        """A column of dates and times, ISO 8601 with a zone or without (then as if UTC), in ns since 1970."""
        texts = self.table.column(name)
        zoned = len(texts) and (str(texts[0]).endswith("Z") or "+" in str(texts[0]))
        kind = pa.timestamp("ns", "UTC") if zoned else pa.timestamp("ns")
        return self._convert(
            name, lambda texts: _one(texts.cast(kind).cast(pa.int64())).to_numpy(), "no time like the first one"
        )

    def _convert(self, name: str, convert: Callable[[Any], Int64s], kind: str) -> Int64s:
        """All of a column, or a sentence about the first row that `convert` does not take."""
        texts = self.table.column(name)
        try:
            return convert(texts)
        except (pa.ArrowInvalid, ValueError):
            low, high = 0, len(texts)  # the first bad row is in low … high − 1
            while high - low > 1:
                middle = (low + high) // 2
                try:
                    convert(texts.slice(low, middle - low))
                    low = middle
                except (pa.ArrowInvalid, ValueError):
                    high = middle
            text = str(texts[low])[:60]
            refuse(self.path, low + 2, f"{name} '{text}' is {kind}" if text else f"{name} is empty")


def _one(chunked: Any) -> Any:
    return chunked.combine_chunks() if isinstance(chunked, pa.ChunkedArray) else chunked


def read_csv(path: Path, columns: Sequence[str]) -> Csv:
    """The named columns of a CSV file with a head and without quotes. Raises BadInputError."""
    convert = pacsv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    parse = pacsv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    try:
        with open_bytes(path) as file:
            return Csv(path, guarded(path, lambda: pacsv.read_csv(file, parse_options=parse, convert_options=convert)))
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        _refuse_csv(path, str(error))


def _refuse_csv(path: Path, words: str) -> NoReturn:
    """Find the line that Arrow does not take; it tells rows only when it reads with one thread."""
    width = 0
    for numbers, text in pieces_of_lines(path):
        for place, line in zip(numbers, text.removesuffix(b"\n").split(b"\n"), strict=True):
            width = width or line.count(b",") + 1
            if (found := line.count(b",") + 1) != width:
                refuse(path, place, f"{found} columns instead of {width}" if line.strip() else "it is empty")
            try:
                line.decode()
            except UnicodeDecodeError:
                refuse(path, place, "it is no UTF-8 text")
    raise BadInputError(f"{path} is no table that can be read: {words.splitlines()[0]}.", "Fetch it again.")
