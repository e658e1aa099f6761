"""Chat exports in ShareGPT's shape, with times: each answered message of a person is a request with all before it.

A time stands at the message, or at the conversation for its first one. Without any it is a dataset, not a trace.
"""

from typing import Any

from loadgen.errors import BadInputError
from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.gather import Gathered, records
from loadgen.trace.messages import text_pieces
from loadgen.trace.reading import Head
from loadgen.trace.table import Survey, Trace

_LISTS = ("conversations", "conversation", "messages", "items")
_TIMES = ("timestamp", "create_time", "created_at", "time", "date")
_PEOPLE = ("human", "user")


def matches(head: Head) -> bool:
    return head.data.lstrip()[:1] in (b"{", b"[") and any(
        f'"{name}"'.encode() in head.data for name in ("conversations", "conversation")
    )


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Turns with a time are kept. Raises BadInputError: no times at all, or a broken record."""
    survey.format = "ShareGPT"
    gathered = Gathered(head, survey)
    for line, record in records(head):
        _conversation(gathered, line, record)
    if not gathered.at_ns and gathered.survey.dropped.get(_UNTIMED):
        raise BadInputError(
            f"{head.path} has conversations and no times: it is a dataset, not a trace.",
            "Use it with `loadgen run --dataset`, or add a `timestamp` to the conversations.",
        )
    survey.oddities.append("Lengths in tokens are not recorded; the texts are, each with the conversation before it.")
    return assemble(gathered.draft(), survey, choices)


_UNTIMED = "a turn without a time"


def _conversation(gathered: Gathered, line: int, record: dict[str, Any]) -> None:
    turns: list[Any] = next((record[name] for name in _LISTS if isinstance(record.get(name), list)), [])
    session = record.get("id", record.get("conversation_id")) or f"line {line}"
    time, said = _time(record), []
    for turn in turns:
        if not isinstance(turn, dict):
            continue
        who = str(turn.get("from", turn.get("role", ""))).lower()
        said += text_pieces(turn)
        if who not in _PEOPLE:
            continue
        gathered.survey.rows_read += 1
        own = _time(turn)
        time = own if own is not None else time
        if time is None:
            gathered.drop(_UNTIMED)
            continue
        gathered.add_said(line, time, session=session, model=record.get("model"), text="\n".join(said) or None)
        time = None  # the conversation's own time is that of its first turn


def _time(held: dict[str, Any]) -> Any:
    return next((held[name] for name in _TIMES if held.get(name) not in (None, "")), None)
