"""Events that differ from one before them only in their text: told from their bytes, without decoding each.

Nearly all events of an answer are such: the same id, the same fields, another token. Decoding each costs more than all
else that is done with an answer. It must never read an event otherwise than the decoder would: whatever is not exactly
the known bytes, one JSON string and the known bytes is left to it.
"""

from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter

import msgspec

from loadgen.endpoints.openai import Event

_STRINGS = msgspec.json.Decoder(list[str])
_BETWEEN = b"\r"  # no event has one: it would have ended a line of the stream


@dataclass(frozen=True, slots=True)
class Shape:
    """The bytes before and after the text of an event, its quotes included."""

    before: bytes
    after: bytes


def shape_of(data: bytes, event: Event) -> Shape | None:
    """The shape of an event, when it says nothing but one text; None when it says more, or when it is not certain where
    the text stands."""
    choices = event.choices
    if not choices or len(choices) > 1 or event.usage is not None or event.error is not None:
        return None
    choice = choices[0]
    if choice.index or choice.finish_reason is not None or choice.token_ids is not None:
        return None
    text = choice.delta.content if choice.delta is not None else choice.text
    if not isinstance(text, str) or not text or b"\\" in data:
        return None
    quoted = b'"' + text.encode() + b'"'
    before, _, after = data.partition(quoted)
    if not after or quoted in after:
        return None
    return Shape(before + b'"', b'"' + after)


def regular(data: list[bytes], shape: Shape) -> int:
    """How many of these events, from the first on, have the shape and a text that is not empty. All or all but the last
    few, or 0: an answer has its other events at its ends."""
    before, after = shape.before, shape.after
    n = len(data)
    while n and not data[n - 1].endswith(after):
        n -= 1
    same = data[:n]
    if not (all(map(bytes.startswith, same, repeat(before))) and all(map(bytes.endswith, same, repeat(after)))):
        return 0
    texts = list(map(itemgetter(slice(len(before), -len(after))), same))
    return n if _all_strings(texts) else 0


def _all_strings(texts: list[bytes]) -> bool:
    """Whether each is the inside of a JSON string, and not an empty one."""
    joined = bare = _BETWEEN.join(texts)
    if b"\\" in joined:  # what is escaped ends no string; a backslash that escapes nothing would escape our quote
        bare = joined.replace(b"\\\\", b"").replace(b'\\"', b"")
        if bare.endswith(b"\\") or b"\\" + _BETWEEN in bare:
            return False
    if b'"' in bare:
        return False
    try:
        return all(_STRINGS.decode(b'["' + joined.replace(_BETWEEN, b'","') + b'"]'))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
