"""Pieces of a source put together: exports, spans and logs are read some megabytes at a time, each piece a draft.

What is kept of a piece is its numbers, names and texts, never its objects, so that memory grows with the requests and
not with what is written around them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.trace.assemble import Draft

FAILED = 500  # the status of what a source calls failed without a number

_NUMBERS = ("at_ns", "row", "input_tokens", "output_tokens", "duration_ns", "status")
_NAMES = ("session", "model")


def together(pieces: Sequence[Draft], *, in_order: bool = False, absolute: bool = True) -> Draft:
    """One draft of all pieces, which tell the same columns; only texts may be told by some and not by others."""
    columns = {name: _joined(pieces, name, _numbers) for name in _NUMBERS}
    columns |= {name: _joined(pieces, name, _strings) for name in _NAMES}
    texts: list[str | None] | None = None
    if any(piece.texts is not None for piece in pieces):
        texts = []
        for piece in pieces:
            texts += [None] * len(piece.at_ns) if piece.texts is None else piece.texts
    return Draft(**columns, texts=texts, in_order=in_order, absolute=absolute)


def _joined(pieces: Sequence[Draft], name: str, join: Callable[[list[Any]], Any]) -> Any:
    parts = [getattr(piece, name) for piece in pieces]
    return None if parts and parts[0] is None else join(parts)


def _numbers(parts: list[Any]) -> Any:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _strings(parts: list[Any]) -> Any:
    return pa.chunked_array(parts, pa.string())


def kept(draft: Draft, keep: npt.NDArray[np.bool_]) -> Draft:
    """The rows of a draft for which `keep` holds; of one that `together` has made."""
    if keep.all():
        return draft
    numbers = {name: _if_any(draft, name, lambda held: held[keep]) for name in _NUMBERS}
    strings = {name: _if_any(draft, name, lambda held: held.filter(pa.array(keep))) for name in _NAMES}
    texts = _if_any(draft, "texts", lambda held: list(compress(held, keep.tolist())))
    return replace(draft, **numbers, **strings, texts=texts)


def _if_any(draft: Draft, name: str, change: Callable[[Any], Any]) -> Any:
    held = getattr(draft, name)
    return None if held is None else change(held)
