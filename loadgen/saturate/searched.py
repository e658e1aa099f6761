"""The folder of a search: search.json (what was asked), probes.jsonl (what was decided), a run folder per probe, and
summary.json and report.html, which are made from these and can be made again.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

from loadgen.analysis import reasons
from loadgen.analysis.slo import slo_of
from loadgen.analysis.sweep import SCHEMA
from loadgen.config import Settings, described
from loadgen.errors import RunFolderError
from loadgen.prepare import SetUp
from loadgen.records import folder as run_folder
from loadgen.report.html import render_html
from loadgen.run import header_of, in_utc, write_reports
from loadgen.search import journal, telling
from loadgen.search.journal import Entry
from loadgen.search.probe import Kind, Workload
from loadgen.search.search import Limits, answer_of

HEADER = "search.json"
# What a resumed search may have changed: where the server is by now, how to get in, and what is shown.
_MAY_DIFFER = {"base_url", "engine", "api_key", "header", "insecure", "timeout", "out", "resume", "json", "quiet"}


def is_search(folder: Path) -> bool:
    return (folder / HEADER).exists()


def is_unfinished(folder: Path) -> bool:
    """Whether it holds a search that was interrupted, or killed."""
    if not is_search(folder):
        return False
    summary = folder / run_folder.SUMMARY
    return not summary.exists() or bool(run_folder.read_json(summary).get("cut"))


def settings_of(folder: Path) -> dict[str, Any]:
    """The options that the search was begun with, by key. Raises RunFolderError when there is no search."""
    if not is_search(folder):
        raise RunFolderError(f"{folder} holds no search.", "Give the folder that `loadgen saturate` made.")
    settings = run_folder.read_json(folder / HEADER).get("settings")
    return settings if isinstance(settings, dict) else {}


def known(settings: Settings, folder: Path) -> list[Entry]:
    """What was judged before in `folder`. Raises RunFolderError when that is another search's, or none's."""
    before, now = settings_of(folder), described(settings)
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing := [key for key in differing if key not in _MAY_DIFFER]:
        raise RunFolderError(
            f"The search in {folder} was begun with another --{differing[0].replace('_', '-')}.",
            "Give the same options, or begin a new search in another folder.",
        )
    return journal.mended(folder)


def opened(setup: SetUp, folder: Path, limits: Limits, workload: Workload) -> list[Entry]:
    """Make the folder, or read what was judged before in it. Raises RunFolderError when it is another search's."""
    if folder.exists():
        return known(setup.settings, folder)
    run_folder.create(folder)
    header = header_of(setup, in_utc(time.time())) | {
        "schema": SCHEMA,
        "limits": dataclasses.asdict(limits),
        "workload": dataclasses.asdict(workload),
    }
    run_folder.write_json(folder / HEADER, header)
    return []


def point_of(folder: Path, number: int, entry: Entry) -> dict[str, Any]:
    """The point of a probe's run, with the probe's line beside it."""
    point: dict[str, Any] = run_folder.read_json(folder / entry.run / run_folder.SUMMARY)["points"][0]
    return point | {"run": entry.run, "probe": telling.row(number, entry)}


def points_of(folder: Path, entries: list[Entry]) -> list[dict[str, Any]]:
    """The points of all probes, in order."""
    return [point_of(folder, number, entry) for number, entry in enumerate(entries, 1)]


def write(folder: Path, entries: list[Entry], points: list[dict[str, Any]], *, cut: bool) -> dict[str, Any]:
    """`summary.json` and `report.html` from what is known by now."""
    header = run_folder.read_json(folder / HEADER)
    limits, slo = Limits(**header["limits"]), slo_of((header.get("slo") or {}).get("text"))
    answer = answer_of([(each.probe, each.judged) for each in entries], limits, slo)
    because = why(entries, points, (header.get("target") or {}).get("engine"))
    summary = header | {
        "kind": "saturate",
        "points": points,
        "probes": [each["probe"] for each in points],
        "saturation": telling.rates(answer, entries) | because,
        "notes": answer.notes,
        "cut": cut,
        "answer": telling.sentences(answer, because["reason"]),
    }
    run_folder.write_json(folder / run_folder.SUMMARY, summary)
    (folder / run_folder.REPORT).write_text(render_html(summary))
    return summary


def why(entries: list[Entry], points: list[dict[str, Any]], engine: str | None) -> dict[str, Any]:
    """`reason`, one clause without a full stop, and the `limits` behind it: of the mildest overload, against the
    lightest load. The one place where the reason is asked for."""
    counted = [(e, point) for e, point in zip(entries, points, strict=True) if e.judged.counts]
    opened = sorted(
        ((e, point) for e, point in counted if e.probe.kind is Kind.OPEN), key=lambda pair: pair[0].probe.level
    )
    over = next((point for e, point in opened if e.judged.verdict == "unstable"), None)
    if over is None:
        return {"reason": "", "limits": []}
    light = next((point for e, point in opened if e.judged.verdict == "stable"), None)
    return {"reason": reasons.reason_of(over, light, engine), "limits": reasons.limits(over, light, engine)}


def rewrite(folder: Path) -> dict[str, Any]:
    """What `loadgen report` does with a search: everything derived is made again from journal and records."""
    entries = journal.read(folder)
    for each in entries:
        write_reports(folder / each.run)
    before = run_folder.read_json(folder / run_folder.SUMMARY) if (folder / run_folder.SUMMARY).exists() else {}
    return write(folder, entries, points_of(folder, entries), cut=bool(before.get("cut", True)))
