"""What follows of a document's points, still as plain JSON: step times, regimes, growth, thresholds, savings.

Apart from findings.py, which is arithmetic on numbers, because this walks through the document's keys. A document is
concluded again whenever it is read, so that one measured long ago is shown with what is concluded today.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import Any

from loadgen.profile.findings import fastest, growth, saving, threshold
from loadgen.profile.works import IN_PAIR, KV_CACHES, STACKS
from loadgen.roofline.bound import kv_bytes_per_token, weight_bytes
from loadgen.roofline.transformer import Transformer

Json = Mapping[str, Any]
DIGITS = 6  # significant, of every number that is not whole: a document of thousands of cells stays readable


def conclude(document: Json) -> dict[str, Any]:
    """The same measurements with everything that follows of them, made anew; numbers rounded to DIGITS."""
    points = [_concluded(document, point) for point in document["points"]]
    sweep = document["sweep"]
    thresholds = [
        {"name": entry["name"], "predicted": entry["predicted"]} | threshold_of(sweep[entry["name"]])
        for entry in document["thresholds"]
    ]
    layers = document["model"]["layers"]
    concluded = {
        "points": points,
        "regimes": regimes(points),
        "growth": growths(points, sweep),
        "thresholds": thresholds,
        "savings": [entry for point in points for entry in savings(point, layers)],
    }
    return dict(document) | {key: rounded(value) for key, value in concluded.items()}


def rounded(value: Any) -> Any:
    """Plain JSON with every number that is not whole cut to DIGITS."""
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _concluded(document: Json, point: Json) -> dict[str, Any]:
    """`fits`: the weights and the cache of all layers, which a profile of single layers never has to hold."""
    model = Transformer(**{key: value for key, value in document["model"].items() if key != "parameters"})
    needed = weight_bytes(model, "bf16") + point["batch"] * point["sequence"] * kv_bytes_per_token(model)
    memory = document["device"].get("memory_bytes")
    steps = {stack: step_sum([cell for cell in point["cells"] if stack in cell["stacks"]]) for stack in STACKS}
    return dict(point) | {"fits": not memory or needed <= memory, "steps": steps}


def fastest_ways(cells: Iterable[Json]) -> dict[str, Json]:
    """Of each operation the cell that took least; one that was not timed only where no other was."""
    best: dict[str, Json] = {}
    for cell in cells:
        if cell["name"] not in best or _time(cell) < _time(best[cell["name"]]):
            best[cell["name"]] = cell
    return best


def _time(cell: Json) -> float:
    return float("inf") if cell["median_us"] is None else float(cell["median_us"])


def step_sum(cells: Sequence[Json]) -> dict[str, Any]:
    """All operations of a step, each in its fastest way, times how often it happens; None if one was not timed.

    `kv_attention` and `latency`: shares of the time in the cache's update and attention, and in all of that regime.
    """
    best = fastest_ways(cells)
    missing = [name for name, cell in best.items() if cell["median_us"] is None]
    floor_ms = sum(cell["times"] * cell["floor_us"] for cell in best.values()) / 1e3
    if missing or not best:
        return {"sum_ms": None, "floor_ms": floor_ms, "of_floor": None, "missing": missing}
    sum_ms = sum(cell["times"] * cell["median_us"] for cell in best.values()) / 1e3
    shares = {name: cell["times"] * cell["median_us"] / 1e3 / sum_ms for name, cell in best.items()}
    return {
        "sum_ms": sum_ms,
        "floor_ms": floor_ms,
        "of_floor": floor_ms / sum_ms,
        "missing": [],
        "shares": shares,
        "kv_attention": sum(share for name, share in shares.items() if name in IN_PAIR),
        "latency": sum(share for name, share in shares.items() if best[name]["reach"] == "latency"),
    }


def regimes(points: Sequence[Json]) -> list[dict[str, Any]]:
    """For each phase and operation, in its fastest way at each point: the bound predicted and the regime found.

    `of_floor`: lowest, median and highest share of the predicted limit that was reached."""
    counted: dict[tuple[str, str], dict[str, Any]] = {}
    reached: dict[tuple[str, str], list[float]] = {}
    for point in points:
        for name, cell in fastest_ways(point["cells"]).items():
            if cell["median_us"] is None:
                continue
            entry = counted.setdefault(
                (point["phase"], name),
                {"phase": point["phase"], "name": name, "points": 0, "agreeing": 0, "predicted": {}, "found": {}},
            )
            entry["points"] += 1
            entry["agreeing"] += cell["agrees"]
            for key, value in (("predicted", cell["predicted"]), ("found", cell["reach"])):
                entry[key][value] = entry[key].get(value, 0) + 1
            reached.setdefault((point["phase"], name), []).append(cell["of_floor"])
    return [
        entry | {"of_floor": [min(reached[key]), median(reached[key]), max(reached[key])]}
        for key, entry in counted.items()
    ]


def growths(points: Sequence[Json], sweep: Mapping[str, Sequence[Json]]) -> list[dict[str, Any]]:
    """Along batch and along length, between neighbours of the grid, and along the sweep of the linear layers."""
    lines: dict[tuple[Any, ...], dict[int, Json]] = {}
    for point in points:
        for cell in point["cells"]:
            about = (point["phase"], cell["name"], cell["how"])
            lines.setdefault((*about, "batch", point["sequence"]), {})[point["batch"]] = cell
            lines.setdefault((*about, "sequence", point["batch"]), {})[point["sequence"]] = cell
    for name, cells in sweep.items():
        lines[("sweep", name, cells[0]["how"], "batch", None)] = {cell["batch"]: cell for cell in cells}
    return [entry for about, line in lines.items() for entry in _growth_of_line(about, line)]


def _growth_of_line(about: tuple[Any, ...], line: Mapping[int, Json]) -> Iterable[dict[str, Any]]:
    """`agrees` is None where the prediction changes between the two neighbours: time should then follow neither."""
    timed = sorted((at, cell) for at, cell in line.items() if cell["median_us"] is not None and cell["flops"])
    for (start, before), (end, after) in pairwise(timed):
        found = growth(*((cell["median_us"], cell["flops"], cell["bytes"]) for cell in (before, after)))
        if found is None:
            continue
        same = before["predicted"] == after["predicted"]
        yield dict(zip(("phase", "name", "how", "axis", "at"), about, strict=True)) | {
            "from": start,
            "to": end,
            "share": found.share,
            "follows": found.follows,
            "predicted": before["predicted"] if same else "turns",
            "agrees": found.follows == before["predicted"] if same else None,
        }


def threshold_of(cells: Sequence[Json]) -> dict[str, Any]:
    """Where a linear layer's sweep turns from flat to rising; `batch` is None if it does not within the sweep.

    The floor's own flat part and rise over those fitted tell why it turns elsewhere than predicted: a kernel that reads
    its weights at 60 % of the bandwidth and multiplies at 90 % of the peak turns at 1.5 times the batch.
    """
    timed = [cell for cell in cells if cell["median_us"] is not None]
    keys = ("batch", "flat_us", "rise_us", "misfit", "flat_of_floor", "rise_of_floor")
    if len(timed) < 2:
        return dict.fromkeys(keys)
    found = threshold([cell["batch"] for cell in timed], [cell["median_us"] * 1e3 for cell in timed])
    flat_us, first, last = found.flat_ns / 1e3, timed[0], timed[-1]
    values: list[float | None] = [found.batch, flat_us, None, found.misfit, first["floor_us"] / flat_us, None]
    if found.rise_ns is not None:
        rise_us = found.rise_ns / 1e3
        values[2], values[5] = rise_us, last["of_compute"] * last["median_us"] / last["batch"] / rise_us
    return dict(zip(keys, values, strict=True))


def savings(point: Json, layers: int) -> Iterable[dict[str, Any]]:
    """At one point, for each cache but the concatenated: what fused attention and this cache leave, alone and together.

    `step_ms_…` put the pair in place of the cache's update and attention in a step whose rest is the fused stack's.
    """
    timed = [pair for pair in point["pairs"] if pair["median_us"] is not None]
    best = fastest({(pair["kv_cache"], pair["attention"]): pair["median_us"] for pair in timed})
    fused_stack = [cell for cell in point["cells"] if "blocked" in cell["stacks"] and cell["name"] not in IN_PAIR]
    rest_ms = step_sum(fused_stack)["sum_ms"]
    for kv_cache in KV_CACHES[1:]:
        found = saving({key: us for key, (us, _) in best.items()}, kv_cache)
        if found is None:
            continue
        steps = {
            f"step_ms_{name}": None if rest_ms is None else rest_ms + layers * getattr(found, f"{name}_us") / 1e3
            for name in ("base", "attention", "cache", "together")
        }
        yield {
            "phase": point["phase"],
            "batch": point["batch"],
            "sequence": point["sequence"],
            "fits": point["fits"],
            "kv_cache": kv_cache,
            "fused_as": best[(kv_cache, "fused")][1],
            **asdict(found),
            "interaction_us": found.interaction_us,
            **steps,
        }
