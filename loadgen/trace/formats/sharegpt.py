"""Chat exports in ShareGPT's shape, with times: each answered message of a person is a request with all before it.

A time stands at the message, or at the conversation for its first one. Without any it is a dataset, not a trace.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from loadgen.errors import BadInputError
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.gather import together
from loadgen.trace.jsonrows import record_rows, told
from loadgen.trace.messages import add_texts
from loadgen.trace.reading import Head
from loadgen.trace.table import Survey, Trace, column
from loadgen.trace.written import instants_ns, names, texts

_TIMES = ("timestamp", "create_time", "created_at", "time", "date")
_TIMED = frozenset(_TIMES)
_PEOPLE = ("human", "user")
_UNTIMED = "a turn without a time"


class Conversation(msgspec.Struct, gc=False):
    """A record, as far as it is read."""

    conversations: Any = None
    conversation: Any = None
    messages: Any = None
    items: Any = None
    timestamp: Any = None
    create_time: Any = None
    created_at: Any = None
    time: Any = None
    date: Any = None
    id: Any = None
    conversation_id: Any = None
    model: Any = None


def matches(head: Head) -> bool:
    return head.data.lstrip()[:1] in (b"{", b"[") and any(
        f'"{name}"'.encode() in head.data for name in ("conversations", "conversation")
    )


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Turns with a time are kept. Raises BadInputError: no times at all, or a broken record."""
    survey.format = "ShareGPT"
    pieces = [_piece(head, survey, lines, rows) for lines, rows in record_rows(head, Conversation)]
    draft = together(pieces)
    if not len(draft.at_ns) and survey.dropped.get(_UNTIMED):
        raise BadInputError(
            f"{head.path} has conversations and no times: it is a dataset, not a trace.",
            "Use it with `loadgen run --dataset`, or add a `timestamp` to the conversations.",
        )
    survey.oddities.append("Lengths in tokens are not recorded; the texts are, each with the conversation before it.")
    return assemble(draft, survey, choices)


def _piece(head: Head, survey: Survey, lines: Sequence[int], rows: list[Conversation]) -> Draft:
    kept: list[int] = []  # of each request the place of its conversation, when it came, and the texts up to there
    times: list[Any] = []
    prompts: list[str | None] = []
    for place, (row, time) in enumerate(zip(rows, told(rows, _TIMES), strict=True)):
        said: list[str] = []
        for turn in _turns(row):
            if not isinstance(turn, dict):
                continue
            add_texts(said, turn)
            if str(turn.get("from", turn.get("role", ""))).lower() not in _PEOPLE:
                continue
            survey.rows_read += 1
            if not _TIMED.isdisjoint(turn):
                time = next((turn[name] for name in _TIMES if turn.get(name) not in (None, "")), time)
            if time is None or time == "":
                survey.drop(_UNTIMED)
                continue
            kept.append(place)
            times.append(time)
            prompts.append("\n".join(said) or None)
            time = None  # the conversation's own time is that of its first turn
    sessions = [name or f"line {line}" for name, line in zip(told(rows, ("id", "conversation_id")), lines, strict=True)]
    at = [lines[place] for place in kept]
    return Draft(
        at_ns=instants_ns(head, at, times, "the time"),
        row=np.array(at, np.int64),
        input_tokens=column(len(at)),
        output_tokens=column(len(at)),
        session=names([sessions[place] for place in kept]),
        model=names([rows[place].model for place in kept]),
        texts=texts(prompts),
    )


def _turns(row: Conversation) -> list[Any]:
    lists = (row.conversations, row.conversation, row.messages, row.items)
    return next((each for each in lists if isinstance(each, list)), [])
