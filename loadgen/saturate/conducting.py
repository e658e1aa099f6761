"""The search from its first probe to its answer: ask, make, write down, tell the search; again until it has its answer.

What is decided is on disk before the next probe begins, so that an interrupted search is resumed by reading it.
"""

import resource
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from loadgen.analysis.slo import Slo, slo_of
from loadgen.config import Settings
from loadgen.prepare import SetUp, lengths_of
from loadgen.progress import Observer, ignore
from loadgen.saturate import searched
from loadgen.saturate.probing import Bench, make
from loadgen.search import journal
from loadgen.search.journal import Entry
from loadgen.search.probe import Judged, Probe, Workload
from loadgen.search.search import Limits, search

_LENGTHS = 50_000  # drawn to know the workload's means to a third of a percent
_IN_FLIGHT_MAX = 4096
_FILES_KEPT = 64  # file descriptors that are not connections


def saturate(
    setup: SetUp,
    folder: Path,
    *,
    observer: Observer = ignore,
    point_done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Search, or go on with the search in `folder`; the summary is written again after each probe.

    Raises RunFolderError when `folder` holds a search that was begun with other options.
    """
    limits, workload = limits_of(setup.settings), workload_of(setup.settings)
    entries = searched.opened(setup, folder, limits, workload)
    points = searched.points_of(folder, entries)
    bench = Bench(setup, folder, workload, observer)
    going = _going_on(limits, setup.slo, entries, folder)
    finished = going is None
    if not finished:
        setup.know_rest()  # before the time of a probe counts
    try:
        while going is not None:
            asking, probe = going
            spent_ns = sum(each.judged.duration_ns for each in entries)
            made = make(
                bench,
                len(entries) + 1,
                probe,
                fastest=max((e.judged.throughput.value for e in entries if e.judged.throughput), default=0.0),
                later_ns=max(0.0, limits.budget_ns - spent_ns - probe.at_most_ns),
            )
            if made is None:
                break
            journal.append(folder, made)
            entries.append(made)
            points.append(searched.point_of(folder, len(entries), made))
            searched.write(folder, entries, points, cut=True)
            point_done(points[-1])
            going = asking, asking.send(made.judged)
    except StopIteration:
        finished = True
    return searched.write(folder, entries, points, cut=not finished)


def concluded(settings: Settings, folder: Path) -> dict[str, Any] | None:
    """The summary of the search in `folder`, written again, when nothing is left to be measured: it needs no server.
    None when something is, or no search is there. Raises RunFolderError when it was begun with other options."""
    if not searched.is_search(folder):
        return None
    entries = searched.known(settings, folder)
    if _going_on(limits_of(settings), slo_of(settings.slo), entries, folder) is not None:
        return None
    return searched.write(folder, entries, searched.points_of(folder, entries), cut=False)


def _going_on(
    limits: Limits, slo: Slo | None, entries: list[Entry], folder: Path
) -> tuple[Generator[Probe, Judged, Any], Probe] | None:
    """The search with these probes behind it, and the probe that it wants next; None when it has its answer."""
    asking = search(limits, slo)
    try:
        probe = next(asking)
        for each in entries:
            if each.probe != probe:  # another version's: go on from what it has seen
                if not searched.is_unfinished(folder):
                    return None
                asking = search(limits, slo, [(entry.probe, entry.judged) for entry in entries])
                return asking, next(asking)
            probe = asking.send(each.judged)
    except StopIteration:
        return None
    return asking, probe


def limits_of(settings: Settings) -> Limits:
    """What the search may spend; no more in flight than this process may open files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = settings.max_concurrency or _IN_FLIGHT_MAX
    return Limits(settings.budget_ns, settings.precision, most if files < 0 else max(1, min(most, files - _FILES_KEPT)))


def workload_of(settings: Settings) -> Workload:
    """The mean lengths of what the requests are drawn from."""
    lengths = lengths_of(settings, settings.dataset, _LENGTHS)
    return Workload(float(lengths.input_tokens.mean()), float(lengths.output_tokens.mean()))
