"""Weka's recorded agent sessions: one JSON object a file is one session, with the sub-agents that it started.

A sub-agent's `t` is its completion: it starts at t − duration, and the parent's next request waits for its last answer;
one launched asynchronously starts at t and nobody waits. Ids are chained, of 64 tokens, whole blocks only, and local
to their file. Files share no clock: all sessions of a folder begin at 0.
"""

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from loadgen.errors import BadInputError
from loadgen.trace import chains
from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import BlockId, Head, Tokens, guarded, head_of, open_bytes, refuse
from loadgen.trace.table import UNKNOWN, Blocks, Edge, Survey, Trace
from loadgen.units import NS_PER_MS, NS_PER_S

_ROUNDING_NS = NS_PER_S  # parents' times are whole seconds


class Call(msgspec.Struct):
    """A request to a model, or a sub-agent with requests of its own."""

    t: Decimal
    type: str
    model: str = ""
    input: Tokens | None = msgspec.field(name="in", default=None)
    out: Tokens | None = None
    hash_ids: list[BlockId] = []
    api_time: Decimal | None = None
    think_time: Decimal | None = None
    duration_ms: Decimal | None = None
    requests: list["Call"] | None = None


class Session(msgspec.Struct):
    """A file."""

    id: str
    requests: list[Call]
    block_size: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 64


def matches(head: Head) -> bool:
    if head.names:
        first = next((name for name in head.names if name.endswith(".json")), None)
        return first is not None and matches(head_of(head.path / first))
    return b'"hash_id_scope"' in head.data or (b'"block_size"' in head.data and b'"requests"' in head.data)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every request of every session is kept. Raises BadInputError with file and place."""
    survey.format = "Weka"
    paths = [head.path / name for name in head.names if name.endswith(".json")] if head.names else [head.path]
    made, seen, repeated = _Rows(), {}, 0
    size = 0
    for number, path in enumerate(paths):
        session, print_of = _session(path)
        repeated += print_of in seen
        seen[print_of] = path
        if size and session.block_size != size:
            raise BadInputError(
                f"{path}: blocks of {session.block_size} tokens, and {size} before it.", "Read them one by one."
            )
        size = session.block_size
        made.add_session(path, number, session)
    survey.rows_read = len(made.at_ns)
    if len(paths) > 1:
        survey.oddities.append(f"{len(paths):,} files share no clock: all sessions begin at 0.")
    if repeated:
        survey.oddities.append(f"Sessions that repeat another one, apart from the id: {repeated:,}.")
    if made.lost:
        survey.oddities.append(f"Requests without a recorded service time, whose answers were lost: {made.lost:,}.")
    offsets, ids = chains.offsets_of(np.array(made.lengths, np.int64)), chains.dense(np.concatenate(made.ids))
    if (broken := chains.broken_chain(offsets, ids)) is not None:
        place = int(np.searchsorted(offsets, broken, "right")) - 1
        refuse(head.path, made.row[place], "a block has another predecessor than before: the ids are not chained")
    blocks = Blocks(size, offsets, ids, partial_last=False)
    draft = made.draft(blocks)
    if len(odd := chains.misfits(blocks, draft.input_tokens)):
        survey.oddities.append(f"Requests with another number of blocks than their length wants: {len(odd):,}.")
    return assemble(draft, survey, choices)


def _session(path: Path) -> tuple[Session, str]:
    """(the session, what tells it from others apart from its id)."""
    with open_bytes(path) as file:
        data = guarded(path, file.read)
    try:
        session = msgspec.json.decode(data, type=Session)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"{path} is no session of Weka's: {error}.", "Is it whole?") from error
    body = msgspec.json.encode(session.requests)
    return session, hashlib.sha256(body).hexdigest()


class _Rows:
    """The columns as they grow; positions in them are what parents and joins name."""

    def __init__(self) -> None:
        self.at_ns: list[int] = []
        self.row: list[int] = []
        self.tokens: list[tuple[int, int]] = []
        self.links: list[tuple[int, int, int]] = []  # parent, edge, think_ns
        self.duration_ns: list[int] = []
        self.session: list[int] = []
        self.model: list[str] = []
        self.lengths: list[int] = []
        self.ids: list[Any] = [np.zeros(0, np.int64)]
        self.joins: list[tuple[int, int]] = []
        self.lost = 0
        self._base = 0  # of the file's ids: they mean nothing in another file

    def add_session(self, path: Path, number: int, session: Session) -> None:
        """One file: the parent's requests in their order, each sub-agent's under the request before it."""
        previous, begun = UNKNOWN, len(self.ids)
        waited: list[int] = []  # sub-agents' last requests that the next one of the parent waits for
        for place, call in enumerate(session.requests, 1):
            if call.requests is None and call.type != "subagent":
                here = self._add(path, place, number, call, _ns(path, place, call.t), previous, goes_on=True)
                self.joins += [(here, other) for other in waited if self._end(other) <= self.at_ns[here] + _ROUNDING_NS]
                previous, waited = here, []
                continue
            duration = None if call.duration_ms is None else _ns(path, place, call.duration_ms, NS_PER_MS)
            start = _ns(path, place, call.t) - (duration or 0)
            spawner, mine = self._spawner(previous, start, number), UNKNOWN
            for inner in call.requests or []:
                if inner.requests is not None:
                    refuse(path, place, "a sub-agent within a sub-agent")
                at_ns = start + _ns(path, place, inner.t)
                above = spawner if mine < 0 else mine
                mine = self._add(path, place, number, inner, at_ns, above, goes_on=mine >= 0)
            if mine >= 0 and duration is not None:
                waited.append(mine)
        own = chains.dense(np.concatenate([np.zeros(0, np.int64), *self.ids[begun:]]))
        self.ids[begun:] = [own + self._base]
        self._base += int(own.max(initial=-1)) + 1

    def _add(self, path: Path, place: int, number: int, call: Call, at_ns: int, parent: int, *, goes_on: bool) -> int:
        if call.input is None or call.out is None:
            refuse(path, place, "a request without its lengths")
        here = len(self.at_ns)
        self.lost += call.api_time is None
        self.at_ns.append(at_ns)
        self.row.append(place)
        self.tokens.append((call.input, call.out))
        self.duration_ns.append(UNKNOWN if call.api_time is None else _ns(path, place, call.api_time))
        self.session.append(number)
        self.model.append(call.model)
        self.lengths.append(len(call.hash_ids))
        self.ids.append(np.array(call.hash_ids, np.int64))
        overlaps = parent >= 0 and at_ns + _ROUNDING_NS < self._end(parent)
        edge = Edge.NONE if parent < 0 else Edge.AFTER_START if overlaps else Edge.AFTER_RESPONSE
        think_ns = UNKNOWN if edge != Edge.AFTER_RESPONSE else max(0, at_ns - self._end(parent))
        if call.think_time is not None and edge == Edge.AFTER_RESPONSE and goes_on:
            think_ns = _ns(path, place, call.think_time)
        self.links.append((parent, edge, think_ns))
        return here

    def _spawner(self, previous: int, start_ns: int, number: int) -> int:
        """The parent's last request that had begun when a sub-agent did."""
        while previous >= 0 and self.at_ns[previous] > start_ns + _ROUNDING_NS:
            previous = self.links[previous][0]
        return previous if previous >= 0 and self.session[previous] == number else UNKNOWN

    def _end(self, row: int) -> int:
        return self.at_ns[row] + max(self.duration_ns[row], 0)

    def draft(self, blocks: Blocks) -> Draft:
        """The columns of all sessions."""
        tokens = np.array(self.tokens, np.int64).reshape(-1, 2)
        links = np.array(self.links, np.int64).reshape(-1, 3)
        return Draft(
            at_ns=np.array(self.at_ns, np.int64),
            row=np.array(self.row, np.int64),
            input_tokens=tokens[:, 0],
            output_tokens=tokens[:, 1],
            in_order=False,
            session=np.array(self.session, np.int64),
            model=self.model,
            parent=links[:, 0],
            edge=links[:, 1],
            think_ns=links[:, 2],
            duration_ns=np.array(self.duration_ns, np.int64),
            joins=self.joins,
            blocks=blocks,
        )


def _ns(path: Path, place: int, value: Decimal, unit_ns: int = NS_PER_S) -> int:
    """A number of units as whole ns. Raises BadInputError."""
    if not value.is_finite() or not 0 <= value < 10**9 * (NS_PER_S // unit_ns):
        refuse(path, place, f"{value} is no time of a session")
    return int((value * unit_ns).to_integral_value())
