"""The search, written down as it goes: a line of JSON per judged probe, so that a reader can check every decision and
an interrupted search goes on where it stopped.

A line that was torn by a crash is left out: its probe is made again. Floats are written so that they read back exactly.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadgen.errors import RunFolderError
from loadgen.search.probe import Judged, Probe

JOURNAL = "probes.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One probe: the folder of its run, what was asked, what was seen.

    discarded   why earlier tries of the same probe were thrown away: {run folder: what the client did wrong}
    """

    run: str
    probe: Probe
    judged: Judged
    discarded: dict[str, str] = field(default_factory=dict)


def append(folder: Path, entry: Entry) -> None:
    """Add a line and see it to the disk. Raises RunFolderError."""
    try:
        with (folder / JOURNAL).open("ab") as sink:
            sink.write(msgspec.json.encode(entry) + b"\n")
            sink.flush()
            os.fsync(sink.fileno())
    except OSError as error:
        raise RunFolderError(f"Cannot write {folder / JOURNAL}: {error.strerror}.") from None


def read(folder: Path) -> list[Entry]:
    """The whole lines, in order; none where there is no journal. Raises RunFolderError when a line is not ours."""
    try:
        content = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"Cannot read {folder / JOURNAL}: {error.strerror}.") from None
    entries = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except msgspec.DecodeError as error:
            raise RunFolderError(
                f"Line {number} of {folder / JOURNAL} is no probe: {error}.",
                "It was edited, or another version made it.",
            ) from None
    return entries


def mended(folder: Path) -> list[Entry]:
    """The same, and a torn last line is gone from the file, so that it can be added to."""
    entries = read(folder)
    path = folder / JOURNAL
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        os.truncate(path, whole)
    return entries
