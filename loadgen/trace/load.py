"""`load_trace`: find out which format a file is, and read it. THE table of formats; a new one is a line.

The first match wins, so what is told by more stands before what is told by less.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import BadInputError
from loadgen.trace.assemble import Choices
from loadgen.trace.formats import azure, mooncake, own
from loadgen.trace.reading import Head, digest, guarded, head_of
from loadgen.trace.table import Survey, Trace


@dataclass(frozen=True, slots=True)
class Format:
    """What tells a format, and what reads it."""

    name: str
    matches: Callable[[Head], bool]
    load: Callable[[Head, Survey, Choices], Trace]


FORMATS = (
    Format("loadgen", own.matches, own.load),
    Format("Azure", azure.matches, azure.load),
    Format("Mooncake", mooncake.matches, mooncake.load),
)


def load_trace(
    path: Path,
    *,
    epoch: int | None = None,
    seed: int = 0,
    start_ns: int = 0,
    duration_ns: int | None = None,
    bytes_per_token: float | None = None,
) -> Trace:
    """The trace in a file or folder of any format in FORMATS; see Choices for the rest.

    Raises BadInputError with the line and the reason, for an unknown file with the formats there are."""
    path = Path(path)
    if not path.exists():
        raise BadInputError(f"There is no trace {path}.", "Give a file; `loadgen trace fetch` knows public ones.")
    head = head_of(path)
    for each in FORMATS:
        if each.matches(head):
            survey = Survey(each.name, str(path), digest(path))
            choices = Choices(epoch, seed, start_ns, duration_ns, bytes_per_token)
            return guarded(path, lambda: each.load(head, survey, choices))  # noqa: B023 (called at once)
    raise _unknown(head)


def _unknown(head: Head) -> BadInputError:
    known = ", ".join(each.name for each in FORMATS)
    if head.names or head.path.is_dir():
        return BadInputError(f"{head.path} is a folder of no format that is known.", f"Known: {known}.")
    if not head.data:
        return BadInputError(f"{head.path} is empty.", "Is it the right file, and whole?")
    shown = head.line[:70].decode(errors="replace")
    return BadInputError(f"{head.path}, line 1: '{shown}' begins no format that is known.", f"Known: {known}.")
