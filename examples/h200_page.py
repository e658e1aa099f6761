"""The tables and curves of docs/results/h200/engines.md, from what examples/h200_engines.sh brought back.

    examples/h200_page.py collect vllm=FOLDER transformers=FOLDER …   # unpacked PART.tar.xz; writes engines.json
    examples/h200_page.py                                             # fills the page and draws the curves from it

It computes nothing but one ratio: the share of the GPU's limits as measured on that GPU, out of the share of the data
sheet's. A later folder of the same engine replaces the sweeps of the same dataset and the batches of the same size. A
search that did not settle is left out where another of the same dataset did.
"""

import json
import lzma
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from paper_figures import draw
from paper_tables import figure, filled, spread, table

from loadgen.report.reading import metric
from loadgen.report.words import verdict_of
from loadgen.search.within import WIDE

PLACE = Path(__file__).parent.parent / "docs" / "results" / "h200"
PAGE, FIGURES = PLACE / "engines.md", PLACE / "engines.json"
KEPT = (
    *("request_rate", "batch_size", "max_concurrency", "num_prompts", "completed", "failed", "censored", "verdict"),
    *("achieved_rate", "output_throughput", "p50_ttft_ms", "p99_ttft_ms", "p50_tpot_ms", "p99_tpot_ms", "p50_e2el_ms"),
    *("mean_batch_latency_ms", "effective_concurrency", "dataset", "duration", "indicative"),
)
CURVES = (
    ("output_throughput", "output", "tokens/s"),
    ("p50_ttft_ms", "TTFT, median", "ms"),
    ("p50_tpot_ms", "TPOT, median", "ms"),
)

Found = dict[str, Any]


def collect(folders: list[tuple[str, Path]]) -> Found:
    """{engine: {"starts": […], "sweeps": {dataset: …}, "batch-…": …, "searches": […]}}"""
    found: Found = {}
    for name, folder in folders:
        engine = found.setdefault(name, {"sweeps": {}, "searches": []})
        for log in sorted(folder.glob("serve-*.txt")):
            told = re.search(r"^Starting (.*?): (.*)$", log.read_text(), flags=re.MULTILINE)
            ready = re.search(r"is ready after ([\d.]+) s", log.read_text())
            if told and ready:
                engine.setdefault("starts", []).append(
                    {"version": told[1], "command": _short(told[2]), "ready_s": float(ready[1])}
                )
        sweeps: Found = {}
        for path in sorted(folder.glob("*/summary.json")):
            summary = json.loads(path.read_text())
            kept = {
                "command": _short(summary["command"]),
                "started": summary["started"],
                "answer": summary.get("answer"),
                "prompts": summary["target"]["prompts"],
                "saturation": summary.get("saturation"),
                "points": [_point(point) for point in summary["points"]],
            }
            if summary["kind"] == "sweep" and path.parent.name.startswith("sweep"):
                before = sweeps.get(summary["dataset"])
                if before:
                    kept["points"] = sorted(before["points"] + kept["points"], key=lambda point: point["request_rate"])
                    kept["command"] = before["command"] + "\n" + kept["command"]
                sweeps[summary["dataset"]] = kept
            elif summary["kind"] == "saturate":
                del kept["points"]  # its probes say what was decided, and why
                engine["searches"].append(kept | {"dataset": summary["dataset"], "probes": summary["probes"]})
            else:
                engine.setdefault(path.parent.name, []).append(kept)
        engine["sweeps"] |= sweeps
    return found


def _short(command: str) -> str:
    """Without the folders of that machine."""
    command = re.sub(r" --out \S+", "", command)
    return re.sub(r"(?<![:/\w])/\S*/(?=[^/\s]+(\s|$))", "", command)


def _point(point: Found) -> Found:
    kept = {key: point[key] for key in KEPT if point.get(key) is not None}
    kept["confidence"] = {
        key: point["confidence"][key]
        for key in ("achieved_rate", "output_throughput", "p50_ttft_ms", "p50_tpot_ms", "mean_batch_latency_ms")
        if (point.get("confidence") or {}).get(key)
    }
    kept["lengths"] = {key: point["lengths"][key] for key in ("input_obtained_mean", "output_obtained_mean")}
    for section in ("efficiency", "server"):
        if point.get(section):
            kept[section] = {key: value for key, value in point[section].items() if value is not None}
    return kept


def _interval(point: Found, key: str) -> list[float]:
    value = point.get(key) or 0.0
    low, high = point["confidence"].get(key) or (value, value)
    return [value, low, high]


def _drawn(point: Found, key: str) -> list[float]:
    """An axis of logarithms has no place for an interval that begins at 0."""
    value, low, high = _interval(point, key)
    return [value, max(low, value / 10), high]


def _spread(point: Found, key: str) -> str:
    return "—" if metric(point, key) is None else spread(_interval(point, key))


def _hint(point: Found, key: str) -> str:
    """A percentile; with `~` where the samples were too few for it."""
    value = metric(point, key)
    return "—" if value is None else ("~" if key in point.get("indicative", ()) else "") + figure(value)


def _tpot(point: Found) -> str:
    """Of answers that ended; where none did, from one token to the next of all that was decoded."""
    token_ms = point.get("efficiency", {}).get("token_ms")
    if metric(point, "p50_tpot_ms") is None and token_ms is not None:
        return f"{figure(token_ms)} a token"
    return f"{_hint(point, 'p50_tpot_ms')}, {_hint(point, 'p99_tpot_ms')}"


def _share(value: float | None, ratio: float) -> str:
    return "—" if value is None else f"{100 * value * ratio:.3g} %"


def _verdict(point: Found) -> str:
    """In the tool's words; a load shorter than its answers is called so where an older version judged it otherwise."""
    said = verdict_of(point["verdict"]).words
    if point.get("efficiency", {}).get("token_ms") is not None:
        return said
    short = point.get("p50_e2el_ms", 0.0) > 1000 * point["duration"] or point["censored"] > point["completed"]
    return "shorter than its answers" if short and point["verdict"] in ("VALID", "TOO_FEW_SAMPLES") else said


def sweep_table(found: Found, dataset: str) -> str:
    limits = found["limits"]
    head = ["engine", "asked req/s", "completed req/s", "output tokens/s", "TTFT p50, p99 ms", "TPOT p50, p99 ms"]
    head += ["running", "MBU", "MFU", "W", "J/token", "verdict"]
    rows = []
    for name, engine in found["engines"].items():
        for point in engine["sweeps"].get(dataset, {}).get("points", []):
            server, efficiency = point.get("server", {}), point.get("efficiency", {})
            gpu = server.get("gpu") or {}
            running = server.get("running_mean", efficiency.get("batch"))
            rows.append(
                [
                    name,
                    f"{point['request_rate']:g}",
                    _spread(point, "achieved_rate"),
                    _spread(point, "output_throughput"),
                    f"{_hint(point, 'p50_ttft_ms')}, {_hint(point, 'p99_ttft_ms')}",
                    _tpot(point),
                    "—" if running is None else figure(running),
                    _share(efficiency.get("mbu"), limits["mbu"]),
                    _share(efficiency.get("mfu"), limits["mfu"]),
                    "—" if gpu.get("power_mean_w") is None else figure(gpu["power_mean_w"]),
                    "—" if gpu.get("joules_per_output_token") is None else figure(gpu["joules_per_output_token"]),
                    _verdict(point),
                ]
            )
    return table(head, rows)


def batch_table(found: Found, dataset: str) -> str:
    head = ["engine", "batch", "output tokens/s", "req/s", "a batch takes, ms", "TPOT p50, ms", "MBU", "MFU"]
    limits, rows = found["limits"], []
    for name, engine in found["engines"].items():
        points = {point["batch_size"]: point for run in engine.get(f"batch-{dataset}", []) for point in run["points"]}
        for _, point in sorted(points.items()):
            efficiency = point.get("efficiency", {})
            rows.append(
                [
                    name,
                    str(point["batch_size"]),
                    _spread(point, "output_throughput"),
                    _spread(point, "achieved_rate"),
                    _spread(point, "mean_batch_latency_ms"),
                    _hint(point, "p50_tpot_ms"),
                    _share(efficiency.get("mbu"), limits["mbu"]),
                    _share(efficiency.get("mfu"), limits["mfu"]),
                ]
            )
    return table(head, rows)


def search_table(found: Found, _: str) -> str:
    head = ["engine", "dataset", "budget", "holds, req/s", "certainly kept up with", "why no more", "within the SLO"]
    head += ["most output, tokens/s"]
    rows = []
    for name, engine in found["engines"].items():
        settled = {search["dataset"] for search in engine["searches"] if _is_settled(search)}
        for search in engine["searches"]:
            if search["dataset"] in settled and not _is_settled(search):
                continue
            told = search["saturation"]
            keys = ("max_stable_rate", "max_goodput_rate", "peak_output_throughput")
            stable, slo, peak = (_estimate(told.get(key)) for key in keys)
            budget = re.search(r"--budget (\d+)s", search["command"])
            lasting = f"{budget[1]} s" if budget else "—"
            kept_up = "—" if told.get("sustained") is None else figure(told["sustained"])
            rows.append([name, search["dataset"], lasting, stable, kept_up, told.get("reason") or "—", slo, peak])
    return table(head, rows)


def _is_settled(search: Found) -> bool:
    return bool((search["saturation"].get("max_stable_rate") or {}).get("value"))


def _estimate(told: Found | None) -> str:
    if not told:
        return "—"
    value, low, high = told.get("value"), told.get("low"), told.get("high")
    if value is None or (low and high and high > WIDE * low):  # as `loadgen saturate` says it
        return "not settled" if low is None or high is None else f"not settled: {figure(low)} to {figure(high)}"
    return figure(value) if low is None or high is None else spread([value, low, high])


def commands(found: Found, _: str) -> str:
    lines = []
    for name, engine in found["engines"].items():
        for start in engine.get("starts", []):
            lines += [f"# {name}: {start['version']}, ready after {start['ready_s']:g} s", start["command"]]
        runs = [*engine["sweeps"].values(), *engine["searches"]]
        runs += [run for key in engine if key.startswith(("batch-", "one-by-one")) for run in engine[key]]
        lines += [run["command"] for run in sorted(runs, key=lambda run: run["started"])] + [""]
    return "```\n" + "\n".join(lines).strip() + "\n```"


KINDS: dict[str, Callable[[Found, str], str]] = {
    "sweep": sweep_table,
    "batch": batch_table,
    "searches": search_table,
    "commands": commands,
}


def fill(page: str, found: Found) -> str:
    """The page with every table and list of it written anew."""
    return filled(page, lambda kind, name: KINDS[kind](found, name))


def curves(found: Found) -> None:
    for dataset in ("s2s", "l2s", "s2l", "s16k"):
        for key, title, unit in CURVES:
            series = {
                name: [
                    {"rate": point["request_rate"], key: _drawn(point, key)}
                    for point in engine["sweeps"].get(dataset, {}).get("points", [])
                    if point.get(key)
                ]
                for name, engine in found["engines"].items()
            }
            path = PLACE / f"engines-{dataset}-{key.split('_')[-2]}.svg"
            draw(
                path,
                {name: points for name, points in series.items() if points},
                key,
                title,
                unit,
                log=True,
                key_across=True,
            )


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["collect"]:
        limits = json.loads(lzma.decompress((PLACE / "profile" / "llama-2-7b.json.xz").read_bytes()))["limits"]
        of = {key: limits["datasheet"][key] / limits["measured"][key] for key in ("bandwidth_gbps", "bf16_tflops")}
        parts = [(name, Path(folder)) for name, _, folder in (each.partition("=") for each in arguments[1:])]
        found = {
            "limits": {"mbu": round(of["bandwidth_gbps"], 4), "mfu": round(of["bf16_tflops"], 4)},
            "engines": collect(parts),
        }
        FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    found = json.loads(FIGURES.read_text())
    curves(found)
    PAGE.write_text(fill(PAGE.read_text(), found))


if __name__ == "__main__":
    main(sys.argv[1:])
