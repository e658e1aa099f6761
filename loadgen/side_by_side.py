"""Several engines, one after another, over the same plans: a folder of sweeps (or batches) and what they say together.

Never two at once: they would share the machine and measure each other. It measures nothing itself; what measures one
engine is handed in, so that whatever a command does for one, it does for several.
"""

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import loadgen
from loadgen.config import Settings
from loadgen.engines.catalog import SIMULATOR, find_engine
from loadgen.engines.starting import plan_engine
from loadgen.errors import BadInputError, LoadgenError
from loadgen.records import folder as run_folder
from loadgen.report.compare import render_side_by_side

KIND = "side-by-side"

Measure = Callable[[Settings, Path], dict[str, Any]]


def side_by_side(
    settings: Settings,
    folder: Path,
    measure: Measure,
    *,
    command: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure each of `settings.engines` and write summary.json and report.html, anew after each.

    What can be refused is refused before the first is started. An engine that fails later has its sentence in the
    summary, and the others go on. Without a seed one is drawn, which all share: the same prompts at the same times.
    """
    engines = [_read(text, say) for text in settings.engines]
    run_folder.create(folder)
    seed = settings.seed if settings.seed is not None else int.from_bytes(os.urandom(3), "little")
    rows: list[dict[str, Any]] = []
    header = {
        "schema": 1,
        "kind": KIND,
        "tool": {"name": "loadgen", "version": loadgen.__version__},
        "command": command,
        "dataset": settings.dataset,
        "seed": seed,
        "started": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    for number, (name, text) in enumerate(engines, 1):
        say(f"Engine {number} of {len(engines)}: {text}")
        place = folder / f"{number:02d}-{name}"
        row: dict[str, Any] = {"asked": text, "folder": place.name, "engine": name}
        try:
            measured = measure(replace(settings, engine=text, engines=[], seed=seed, out=None), place)
        except LoadgenError as error:
            row["error"] = f"{error} {error.hint.splitlines()[0] if error.hint else ''}".strip()
            say(f"{text}: {row['error']}")
            measured = {}
        rows.append(row | _of_one(measured))
        cut = bool(measured.get("cut"))
        summary = write_side_by_side(folder, header | {"cut": cut or number < len(engines)}, rows)
        if cut:
            break
    return summary


def _read(text: str, say: Callable[[str], None]) -> tuple[str, str]:
    """(engine, what was asked). Refuses what cannot be started before anything is."""
    try:
        name, *arguments = shlex.split(text)
    except ValueError as error:
        raise BadInputError(f"--engine '{text}': {error}.", "Quote it once, as one text.") from None
    engine = find_engine(name)[0]
    if engine != SIMULATOR:
        plan_engine(name, arguments, say=say)
    return engine, text


def _of_one(measured: dict[str, Any]) -> dict[str, Any]:
    """What the comparison keeps of an engine's own summary."""
    kept = ("kind", "target", "points", "answer", "saturation", "saturation_by_dataset", "slo", "settings", "cut")
    return {key: measured[key] for key in kept if key in measured}


def write_side_by_side(folder: Path, header: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """`summary.json` and `report.html` of the comparison; each engine's own are in its folder."""
    for row, label in zip(rows, _labels(rows), strict=True):
        row["label"] = label
    summary = header | {"engines": rows}
    run_folder.write_json(folder / run_folder.SUMMARY, summary)
    (folder / run_folder.REPORT).write_text(render_side_by_side(summary))
    return summary


def is_side_by_side(folder: Path) -> bool:
    """Whether `loadgen report` has a comparison before it."""
    path = folder / run_folder.SUMMARY
    return path.is_file() and run_folder.read_json(path).get("kind") == KIND


def rewrite_side_by_side(folder: Path, rewrite: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The reports of each engine made again by `rewrite`, and then the comparison."""
    summary = run_folder.read_json(folder / run_folder.SUMMARY)
    header = {key: value for key, value in summary.items() if key != "engines"}
    rows = [row | (_of_one(rewrite(folder / row["folder"])) if row.get("points") else {}) for row in summary["engines"]]
    return write_side_by_side(folder, header, rows)


def _labels(rows: list[dict[str, Any]]) -> list[str]:
    """Name and version; with what was asked, where two would be called the same."""
    plain = []
    for row in rows:
        target = row.get("target") or {}
        name = target.get("name") or row["engine"]
        plain.append(f"{name} {target.get('version', '')}".strip())
    labels = []
    for row, label in zip(rows, plain, strict=True):
        flags = row["asked"].partition(" ")[2].strip()
        labels.append(f"{label} ({flags or 'as it is'})" if plain.count(label) > 1 else label)
    return [f"{label} #{k}" if labels.count(label) > 1 else label for k, label in enumerate(labels, 1)]
