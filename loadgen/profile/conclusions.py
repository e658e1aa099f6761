"""What follows of a document's points, still as plain JSON: step times, regimes, growth, thresholds, savings.

Apart from findings.py, which is arithmetic on numbers, because this walks through the document's keys.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from loadgen.profile.findings import fastest, growth, saving, threshold
from loadgen.profile.works import IN_PAIR, KV_CACHES

Json = Mapping[str, Any]


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
    """All operations of a step, each in its fastest way, times how often it happens; None if one was not timed."""
    best = fastest_ways(cells)
    missing = [name for name, cell in best.items() if cell["median_us"] is None]
    floor_ms = sum(cell["times"] * cell["floor_us"] for cell in best.values()) / 1e3
    if missing or not best:
        return {"sum_ms": None, "floor_ms": floor_ms, "of_floor": None, "missing": missing}
    sum_ms = sum(cell["times"] * cell["median_us"] for cell in best.values()) / 1e3
    shares = {name: cell["times"] * cell["median_us"] / 1e3 / sum_ms for name, cell in best.items()}
    return {"sum_ms": sum_ms, "floor_ms": floor_ms, "of_floor": floor_ms / sum_ms, "missing": [], "shares": shares}


def regimes(points: Sequence[Json]) -> list[dict[str, Any]]:
    """For each phase and operation, in its fastest way at each point: the bound predicted and the regime found."""
    counted: dict[tuple[str, str], dict[str, Any]] = {}
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
    return list(counted.values())


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
    """Where a linear layer's sweep turns from flat to rising; `batch` is None if it does not within the sweep."""
    timed = [(cell["batch"], cell["median_us"]) for cell in cells if cell["median_us"] is not None]
    if len(timed) < 2:
        return {"batch": None, "flat_us": None, "rise_us": None, "misfit": None}
    found = threshold([batch for batch, _ in timed], [us * 1e3 for _, us in timed])
    rise_us = None if found.rise_ns is None else found.rise_ns / 1e3
    return {"batch": found.batch, "flat_us": found.flat_ns / 1e3, "rise_us": rise_us, "misfit": found.misfit}


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
            "kv_cache": kv_cache,
            "fused_as": best[(kv_cache, "fused")][1],
            **asdict(found),
            "interaction_us": found.interaction_us,
            **steps,
        }
