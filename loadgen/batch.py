"""The offline experiment: one run per dataset and batch size over the same set of requests; a folder of runs.

It asks what the server can do when nobody waits; what users feel is the business of `sweep` and `saturate`.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadgen.analysis.sweep import SCHEMA
from loadgen.errors import BadInputError
from loadgen.prepare import SetUp, lengths_of
from loadgen.progress import Observer, ignore
from loadgen.records import folder as run_folder
from loadgen.report.html import render_html
from loadgen.rng import generator
from loadgen.run import drive, header_of, started_of
from loadgen.schedule.batches import batch_plan, parse_batch_sizes
from loadgen.units import NS_PER_MS, format_duration, format_number
from loadgen.workload.lengths import ALL

PROMPTS_MIN = 32  # requests of a set, when nothing else says how many


def batch(
    setup: SetUp,
    folder: Path,
    *,
    observer: Observer = ignore,
    point_done: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """The summary is rewritten after each run, so that a crash keeps the finished ones."""
    settings = setup.settings
    sizes = parse_batch_sizes(settings.batch_sizes)
    largest = max((int(size) for size in sizes if math.isfinite(size)), default=0)
    prompts = settings.num_prompts or max(PROMPTS_MIN, largest)
    if largest > prompts:
        raise BadInputError(
            f"A batch of {largest} needs as many prompts.", f"Give --num-prompts {largest}, or leave it out."
        )
    datasets = ALL if settings.dataset == "all" else (settings.dataset,)
    cells = [(dataset, prompts if math.isinf(size) else int(size)) for dataset in datasets for size in sizes]
    cells = list(dict.fromkeys(cells))  # "all" may be a size that was named
    run_folder.create(folder)
    points: list[dict[str, Any]] = []
    header: dict[str, Any] = {}
    for number, (dataset, size) in enumerate(cells, 1):
        name = f"{number:02d}-{Path(dataset).stem}-batch-{size}"
        point = _cell(setup, folder / name, dataset, size, prompts, (number, len(cells)), observer)
        points.append(point | {"run": name})
        header = header or header_of(setup, started_of(folder / name))
        cut = setup.is_interrupted()
        summary = write_batch(folder, header | {"cut": cut or number < len(cells)}, points)
        point_done(points[-1])
        if cut:
            break
    return summary


def _cell(
    setup: SetUp, folder: Path, dataset: str, size: int, prompts: int, place: tuple[int, int], observer: Observer
) -> dict[str, Any]:
    settings = setup.settings
    lengths = lengths_of(settings, dataset, prompts)
    plan = batch_plan(
        lengths.input_tokens,
        lengths.output_tokens,
        lengths.label,
        batch_size=size,
        repeats=settings.repeats,
        seed=settings.seed or 0,
        drain_ns=settings.drain_ns,
    )
    # New words in every repeat, or the second would be served from the prefix cache; recorded texts are what they are.
    source = setup.prompts(int(generator(setup.prompt_seed, f"prompts.{dataset}.{size}").integers(1 << 31)), lengths)
    warm = len(plan) - settings.repeats * prompts

    def text_of(index: int, wanted: int) -> Any:
        row = index if lengths.texts is None else index if index < warm else (index - warm) % prompts
        return source(row, wanted)

    return drive(
        setup, folder, plan, text_of, rate=None, dataset=dataset, duration_ns=0, point=place, observer=observer
    )


def write_batch(folder: Path, header: dict[str, Any], points: list[dict[str, Any]]) -> dict[str, Any]:
    """`summary.json` and `report.html` of the folder."""
    summary = {"schema": SCHEMA, "kind": "batch"} | header | {"points": points, "saturation": None}
    summary["answer"] = answer(points)
    run_folder.write_json(folder / run_folder.SUMMARY, summary)
    (folder / run_folder.REPORT).write_text(render_html(summary))
    return summary


def answer(points: list[dict[str, Any]]) -> str:
    """One sentence per dataset: the highest token throughput, at which batch size, how long a batch then takes."""
    sentences = []
    for dataset in dict.fromkeys(point["dataset"] for point in points):
        known = [each for each in points if each["dataset"] == dataset and each["output_throughput"]]
        if not known:
            sentences.append(f"{dataset}: no batch completed.")
            continue
        best = max(known, key=lambda each: float(each["output_throughput"]))
        interval = best["confidence"].get("output_throughput")
        between = f" (95 % CI {format_number(interval[0])} to {format_number(interval[1])})" if interval else ""
        took = format_duration(best["mean_batch_latency_ms"] * NS_PER_MS)
        sentences.append(
            f"{dataset}: up to {format_number(best['output_throughput'])} output tokens/s{between}, "
            f"in batches of {best['batch_size']}; a batch then takes {took}."
        )
    return " ".join(sentences)
