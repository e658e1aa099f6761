"""Many runs, one after another over the same server, and what they say together. A sweep is a folder of runs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadgen.analysis.sweep import answer, sweep_summary
from loadgen.config import Settings
from loadgen.engines.rest import LIMIT_NS as REST_LIMIT_NS
from loadgen.errors import RunFolderError
from loadgen.exchange import Outcome
from loadgen.prepare import SetUp
from loadgen.progress import Observer, Progress, ignore
from loadgen.records import folder as run_folder
from loadgen.report.html import render_html
from loadgen.run import header_of, run_once, started_of, write_reports
from loadgen.schedule.rates import parse_rates
from loadgen.units import NS_PER_S
from loadgen.workload.lengths import ALL, DATASETS

Writer = Callable[[Path, dict[str, Any], list[dict[str, Any]]], dict[str, Any]]
SEARCH = "search"  # what a folder of a sweep holds beside its runs, where a search placed the rates
# A point's default duration: about thirty arrivals, so that slow rates say something and fast ones cost little.
_ARRIVALS, _SHORTEST_S, _LONGEST_S = 30, 12, 30
_COUNT_AT_ONCE = 256  # requests of a point at rate `inf`, when nothing else says how many


def duration_ns_of(settings: Settings, rate: float) -> int:
    """How long a point lasts: as asked, or 12 to 30 s so that at least about thirty requests arrive."""
    if settings.duration_ns:
        return settings.duration_ns
    seconds = _SHORTEST_S if math.isinf(rate) else min(_LONGEST_S, max(_SHORTEST_S, _ARRIVALS / rate))
    return round(seconds * NS_PER_S)


def sweep(
    setup: SetUp,
    folder: Path,
    *,
    observer: Observer = ignore,
    point_done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """One run per dataset and rate; the summary is rewritten after each, so that a crash keeps the finished ones."""
    settings = setup.settings
    datasets = ALL if settings.dataset == "all" else (settings.dataset,)
    rates = parse_rates(settings.rates)
    runs = [(dataset, rate) for dataset in datasets for rate in rates]
    if not (folder / SEARCH).is_dir():  # the search that placed the rates has made it
        run_folder.create(folder)
    points: list[dict[str, Any]] = []
    header: dict[str, Any] = {}
    rest = setup.know_rest() if len(runs) > 1 else None
    for number, (dataset, rate) in enumerate(runs, 1):
        unrest = None
        if rest and rest.is_disturbed:
            observer(Progress(setup.in_words(), dataset, "waiting for rest", number, len(runs), rate))
            unrest = rest.wait(REST_LIMIT_NS, setup.is_interrupted)
        if points and setup.is_interrupted():
            break
        later = sum(duration_ns_of(settings, each) for _, each in runs[number:])
        name = f"{number:02d}-{Path(dataset).stem}-{rate:g}"
        point = run_once(
            setup,
            folder / name,
            rate=rate,
            dataset=dataset,
            duration_ns=duration_ns_of(settings, rate),
            count=settings.num_prompts or (_COUNT_AT_ONCE if math.isinf(rate) else 0),
            point=(number, len(runs)),
            later_ns=later,
            observer=observer,
            unrest=unrest.seen if unrest else "",
        )
        if rest and _let_go(point):
            rest.disturb()
        points.append(point | {"run": name})
        header = header or header_of(setup, started_of(folder / name))
        write_sweep(folder, header | {"cut": setup.is_interrupted() or number < len(runs)}, points)
        point_done(points[-1])
    return write_sweep(folder, header | {"cut": len(points) < len(runs) or setup.is_interrupted()}, points)


def _let_go(point: dict[str, Any]) -> bool:
    """Whether requests were dropped that the server may still be at."""
    whole = point["whole_run"]
    return bool(whole["censored"] or whole["errors"].get(Outcome.TIMEOUT))


def write_sweep(folder: Path, header: dict[str, Any], points: list[dict[str, Any]]) -> dict[str, Any]:
    """`summary.json` and `report.html` of the sweep's folder."""
    labels = list(dict.fromkeys(point.get("dataset") for point in points))
    if len(labels) > 1:
        # A saturation point belongs to one workload: one answer per dataset.
        parts = {str(label): [each for each in points if each.get("dataset") == label] for label in labels}
        summaries = {label: sweep_summary(part, header) for label, part in parts.items()}
        summary = sweep_summary(points, header) | {
            "saturation": None,
            "saturation_by_dataset": {label: each["saturation"] for label, each in summaries.items()},
        }
        summary["answer"] = " ".join(f"{_title(label)}: {answer(each)}" for label, each in summaries.items())
    else:
        summary = sweep_summary(points, header)
        summary["answer"] = answer(summary)
    run_folder.write_json(folder / run_folder.SUMMARY, summary)
    (folder / run_folder.REPORT).write_text(render_html(summary))
    return summary


def _title(label: str) -> str:
    return DATASETS[label].title if label in DATASETS else label


def rewrite(folder: Path, writers: dict[str, Writer]) -> dict[str, Any]:
    """What `loadgen report` does: rebuild the reports of a folder from its records; `writers`: by its plans' loop."""
    if not folder.is_dir():
        raise RunFolderError(f"There is no folder {folder}.", "Give the folder of a run or of a sweep.")
    if (folder / run_folder.MANIFEST).exists():
        return write_reports(folder)
    runs = sorted(path.parent for path in folder.glob(f"*/{run_folder.MANIFEST}"))
    if not runs:
        raise RunFolderError(f"{folder} holds no run.", "Give the folder of a run or of a sweep.")
    summaries = [(run, write_reports(run)) for run in runs]
    manifest = run_folder.read_json(runs[0] / run_folder.MANIFEST)
    kept = ("tool", "command", "target", "dataset", "seed", "started", "slo", "settings")
    header = {key: manifest.get(key) for key in kept}
    old = folder / run_folder.SUMMARY
    cut = any(summary["cut"] for _, summary in summaries)
    if old.exists():
        before = run_folder.read_json(old)
        header |= {key: before[key] for key in kept if key in before}
        cut = cut or bool(before.get("cut"))
    write = writers.get(manifest["plan"].get("loop"), write_sweep)
    return write(folder, header | {"cut": cut}, [s["points"][0] | {"run": run.name} for run, s in summaries])
