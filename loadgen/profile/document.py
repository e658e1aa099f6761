"""A profile as the JSON document of `loadgen profile --json`: each measurement beside its floor, then conclusions.

Apart from conclusions.py because what was measured and what follows of it change for other reasons. No torch: made-up
timings do for tests.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loadgen.profile.conclusions import conclude, rounded
from loadgen.profile.findings import regime
from loadgen.profile.grid import Cell, Point
from loadgen.profile.limits import Reached
from loadgen.profile.measure import Profile
from loadgen.profile.timing import CACHES_SWEPT, COPIES_MAX, Timing
from loadgen.profile.works import stack_step
from loadgen.roofline.bound import compute_bound_batch
from loadgen.roofline.gpus import Gpu


def describe(profile: Profile) -> dict[str, Any]:
    """Everything, ready for JSON."""
    points = sorted((_point(profile, point) for point in profile.points), key=_place)
    sweep: dict[str, list[dict[str, Any]]] = {}
    for batch, cell in profile.sweep:
        sweep.setdefault(cell.row.name, []).append({"batch": batch} | _cell(profile, cell))
    document: dict[str, Any] = {
        "schema": 1,
        "kind": "profile",
        "command": profile.wanted.command,
        "seconds": profile.seconds,
        "model": asdict(profile.model) | {"parameters": profile.model.parameters},
        "device": profile.device,
        "settings": asdict(profile.wanted.effort) | {"copies_max": COPIES_MAX, "caches_swept": CACHES_SWEPT},
        "limits": _limits(profile),
        "troubles": [{"part": part, "error": error} for part, error in profile.troubles],
        "left_out": [list(point) for point in profile.left_out],
        "selftest": [asdict(check) | {"passed": check.passed} for check in profile.checks],
        "points": points,
        "sweep": sweep,
        "thresholds": [{"name": name, "predicted": _predicted(profile, name)} for name in sweep],
    }
    return conclude(rounded(document))


def _place(point: Mapping[str, Any]) -> tuple[str, int, int]:
    return point["phase"], point["sequence"], point["batch"]


def _limits(profile: Profile) -> dict[str, Any]:
    known = {"measured": profile.measured, "datasheet": profile.datasheet}
    return {
        "chosen": profile.gpu.name,
        **{key: _limit(gpu) if gpu else None for key, gpu in known.items()},
        "launch_us": profile.launch.median_ns / 1e3 if profile.launch else None,
        "reached": [_reached(one) for one in profile.reached],
        "reached_again": [_reached(one) for one in profile.reached_again],
    }


def _limit(gpu: Gpu) -> dict[str, Any]:
    return {
        "name": gpu.name,
        "bf16_tflops": gpu.bf16.value,
        "bandwidth_gbps": gpu.bandwidth.value,
        "ridge": gpu.ridge(),
        "sources": {"bf16_tflops": gpu.bf16.source, "bandwidth_gbps": gpu.bandwidth.source},
    }


def _reached(one: Reached) -> dict[str, Any]:
    timing = one.timing
    spread = {"p5": one.rate(timing.p95_ns), "p95": one.rate(timing.p5_ns)}
    return {"name": one.name, "unit": one.unit, "value": one.value, **spread, "method": timing.method}


def describe_timing(timing: Timing | str) -> dict[str, Any]:
    """The keys of everything that was to be timed; `skipped` says why it was not."""
    if isinstance(timing, str):
        return {"median_us": None, "skipped": timing}
    return {
        "median_us": timing.median_ns / 1e3,
        "p5_us": timing.p5_ns / 1e3,
        "p95_us": timing.p95_ns / 1e3,
        "samples": timing.samples,
        "calls": timing.calls,
        "method": timing.method,
        "cached": timing.cached,
    }


def _point(profile: Profile, point: Point) -> dict[str, Any]:
    return {
        "phase": point.phase,
        "batch": point.batch,
        "sequence": point.sequence,
        "cells": [_cell(profile, cell) for cell in point.cells],
        "pairs": [
            {"kv_cache": pair.kv_cache, "attention": pair.attention, "bytes": pair.bytes} | describe_timing(pair.timing)
            for pair in point.pairs
        ],
    }


def _cell(profile: Profile, cell: Cell) -> dict[str, Any]:
    """A module once; `times` says how often the step has it. Floors in both limits, shares of the chosen."""
    row, gpu, datasheet = cell.row, profile.gpu, profile.datasheet
    told: dict[str, Any] = {
        "name": row.name,
        "how": cell.how,
        "stacks": cell.stacks,
        "times": row.times,
        "flops": int(row.flops),
        "bytes": int(row.bytes),
        "intensity": row.intensity,
        "predicted": row.bound,
        "floor_us": row.floor_ns / 1e3,
        "floor_us_datasheet": _floor_us(row.flops, row.bytes, datasheet) if datasheet else None,
        **describe_timing(cell.timing),
    }
    if isinstance(cell.timing, str):
        return told
    ns, launch_ns = cell.timing.median_ns, profile.launch.median_ns if profile.launch else 0
    found = regime(row.flops, row.bytes, ns, gpu.bf16.value, gpu.bandwidth.value, launch_ns)
    return told | asdict(found) | {"of_floor": row.floor_ns / ns, "agrees": found.reach == row.bound}


def _floor_us(flops: float, bytes_: float, gpu: Gpu) -> float:
    return max(flops / (gpu.bf16.value * 1e3), bytes_ / gpu.bandwidth.value) / 1e3


def _predicted(profile: Profile, name: str) -> dict[str, int | None]:
    step = stack_step("blocked", "decode", 1, 1)
    gpus = {"measured": profile.measured, "datasheet": profile.datasheet}
    return {key: compute_bound_batch(profile.model, step, gpu, name) if gpu else None for key, gpu in gpus.items()}
