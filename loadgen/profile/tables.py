"""A profile's document as tables of words: the same ones on the terminal, in Markdown and on the page.

It reads only the document, so that a profile measured elsewhere is shown alike. It must never compute a result. Of a
document with `shown`, lists of values by key, only those points have rows; verdicts are always over all points.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.units import format_duration, format_number

Json = Mapping[str, Any]
POINTS_MAX = 4  # more points than that have their modules in the JSON only


@dataclass(frozen=True, slots=True)
class Table:
    """`left` is how many columns, counted from the left, hold words."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    left: int = 1


def headline(document: Json) -> str:
    """Model, device and how long it took."""
    model, device = document["model"], document["device"]
    version = f"torch {device['torch']}" + (f", Triton {device['triton']}" if device["triton"] else "")
    return f"{model['name']} on {device['name']}, {version}, measured in {format_duration(document['seconds'] * 1e9)}"


def all_tables(document: Json) -> list[Table]:
    """In the order in which they are read; those with nothing in them are left out."""
    tables = [limits(document), *modules(document), steps(document), thresholds(document), savings(document)]
    tables += [caches(document), regimes(document), growth(document), troubles(document)]
    return [table for table in tables if table.rows]


def shown(document: Json, entries: Iterable[Json]) -> list[Json]:
    """Of points, or of what was concluded for points, those that were asked for."""
    wanted = document.get("shown", {})
    return [entry for entry in entries if all(entry[key] in values for key, values in wanted.items())]


def microseconds(us: float | None) -> str:
    return "—" if us is None else format_duration(us * 1e3)


def _number(value: float | None) -> str:
    return "—" if value is None else format_number(value)


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.0%}"


def place(entry: Json) -> str:
    """`decode 16 × 1,024`: phase, batch, tokens of a sequence; † where all layers' cache would not fit beside them."""
    return f"{entry['phase']} {entry['batch']:,} × {entry['sequence']:,}{'' if entry['fits'] else '†'}"


def limits(document: Json) -> Table:
    told = document["limits"]
    again = {one["name"]: one["value"] for one in told["reached_again"]}
    rows = [
        (f"{one['name']}, {one['unit']}", *map(_number, (one["value"], one["p5"], one["p95"], again.get(one["name"]))))
        for one in told["reached"]
    ]
    known = [told[key] for key in ("measured", "datasheet") if told[key]]
    sentences = [
        f"{limit['name']}: {_number(limit['bf16_tflops'])} TFLOP/s, {_number(limit['bandwidth_gbps'])} GB/s, "
        f"ridge {_number(limit['ridge'])} FLOPs/byte."
        for limit in known
    ]
    sentences.append(f"Floors are of {told['chosen']}. Shortest kernel: {microseconds(told['launch_us'])}.")
    sentences.append("copy is torch's, a memcpy of the driver's; bytes read and written both count.")
    return Table("What the device reaches", ("", "median", "p5", "p95", "at the end"), rows, " ".join(sentences))


def modules(document: Json) -> Iterable[Table]:
    """Each module once; only where few points are shown."""
    points = shown(document, document["points"])
    if len(points) > POINTS_MAX:
        return
    columns = ("operation", "how", "predicted", "reached", "FLOPs/B", "floor", "median", "p5", "p95", "of floor")
    for point in points:
        rows = []
        for cell in point["cells"]:
            about = (cell["name"], cell["how"], cell["predicted"])
            figures = (_number(cell["intensity"]), microseconds(cell["floor_us"]))
            if cell["median_us"] is None:
                rows.append((*about, cell["skipped"][:40], *figures, "—", "—", "—", "—"))
                continue
            times = (microseconds(cell[key]) for key in ("median_us", "p5_us", "p95_us"))
            share = f"{_share(cell['of_floor'])}{'*' if cell['cached'] else ''}"
            rows.append((*about, cell["reach"], *figures, *times, share))
        cached = any(cell.get("cached") for cell in point["cells"])
        note = "* the data fit in the L2 cache: the time may lie below the floor." if cached else ""
        yield Table(place(point), columns, rows, note, left=4)


def steps(document: Json) -> Table:
    rows, points = [], shown(document, document["points"])
    for point in points:
        for stack, step in point["steps"].items():
            if step["sum_ms"] is None:
                missing = ", ".join(step["missing"])[:50]
                rows.append((place(point), stack, "—", _number(step["floor_ms"]), "—", "—", "—", missing))
                continue
            longest = sorted(step["shares"].items(), key=lambda item: -item[1])[:3]
            words = ", ".join(f"{name} {share:.0%}" for name, share in longest)
            figures = (_number(step["sum_ms"]), _number(step["floor_ms"]), _share(step["of_floor"]))
            rows.append((place(point), stack, *figures, _share(step["kv_attention"]), _share(step["latency"]), words))
    columns = ("point", "stack", "sum, ms", "floor, ms", "of floor", "KV & attention", "latency", "most of it")
    note = (
        "Sum of all modules of a whole step, each in its fastest way of that stack; no gaps between them. KV & "
        "attention, latency: shares of the time in the cache and attention, and in modules of the regime latency."
    )
    if not all(point["fits"] for point in points):
        note += " † the weights and the cache of all layers do not fit into this GPU: what a step would take."
    return Table("Steps", columns, rows, note, left=2)


def thresholds(document: Json) -> Table:
    rows = []
    for entry in document["thresholds"]:
        predicted = (_number(entry["predicted"][key]) for key in ("measured", "datasheet"))
        measured = "beyond the sweep" if entry["batch"] is None else f"{entry['batch']:,.0f}"
        flat, rise = (microseconds(entry[key]) for key in ("flat_us", "rise_us"))
        of_floor = (_share(entry[key]) for key in ("flat_of_floor", "rise_of_floor", "misfit"))
        flat_share, rise_share, misfit = of_floor
        rows.append((entry["name"], measured, *predicted, flat, flat_share, rise, rise_share, misfit))
    predictions = ("by measured limits", "by datasheet")
    columns = ("linear layer", "measured", *predictions, "flat", "of floor", "one row more", "of floor", "misfit")
    note = "Where it turns later than predicted, the flat part is further above its floor than the rising one."
    return Table("The batch from which a linear layer is bound by compute", columns, rows, note)


def savings(document: Json) -> Table:
    rows = []
    for entry in shown(document, document["savings"]):
        keys = ("base_us", "attention_us", "cache_us", "together_us", "interaction_us")
        base, together = entry["step_ms_base"], entry["step_ms_together"]
        step = "—" if base is None else f"{base / together:.2f}×"
        rows.append((place(entry), entry["kv_cache"], *(microseconds(entry[key]) for key in keys), step))
    columns = ("point", "cache", "both eager", "fused attention", "this cache", "together", "interaction", "step")
    note = (
        "Cache update and attention of one layer: eager over a concatenated cache, then with fused attention, with "
        "this cache, with both. Interaction: saved together beyond the sum of each alone; large where eager attention "
        "must gather pages first. Step: how much faster it is."
    )
    return Table("What fused attention and the KV cache save", columns, rows, note, left=2)


def caches(document: Json) -> Table:
    """The three strategies and each way of attention, side by side."""
    points = shown(document, document["points"])
    columns = list(dict.fromkeys((pair["kv_cache"], pair["attention"]) for p in points for pair in p["pairs"]))
    rows = []
    for point in points:
        times = {(pair["kv_cache"], pair["attention"]): pair["median_us"] for pair in point["pairs"]}
        rows.append((place(point), *(microseconds(times.get(column)) for column in columns)))
    titles = ("point", *(f"{kv_cache}, {attention}" for kv_cache, attention in columns))
    return Table("KV cache update and attention of one layer", titles, rows if columns else [])


def regimes(document: Json) -> Table:
    rows = []
    for entry in document["regimes"]:
        words = [", ".join(f"{name} {count}" for name, count in entry[key].items()) for key in ("predicted", "found")]
        counts = (str(entry["points"]), str(entry["agreeing"]))
        rows.append((f"{entry['name']}, {entry['phase']}", *words, *counts, *map(_share, entry["of_floor"])))
    note = (
        "Reached: at least half of that limit. latency: of neither, and under four of the shortest kernels long. "
        "neither: more bytes or FLOPs than the floor counts, or a kernel that is not good. The last three: what was "
        "reached of the predicted limit. Over all points."
    )
    columns = ("operation", "predicted", "reached", "points", "agree", "least", "median", "most")
    return Table("Predicted bound against the regime reached", columns, rows, note, left=3)


def growth(document: Json) -> Table:
    counted: dict[tuple[str, str], list[int]] = {}
    for entry in document["growth"]:
        if entry["agrees"] is not None:
            count = counted.setdefault((entry["phase"], entry["predicted"]), [0, 0])
            count[0] += 1
            count[1] += entry["agrees"]
    rows = [
        (f"{phase}, predicted {predicted}", f"{n:,}", f"{agree:,}")
        for (phase, predicted), (n, agree) in counted.items()
    ]
    note = (
        "Between neighbours of the grid whose FLOPs and bytes grow by different factors: which of the two time follows."
    )
    return Table("Growth along batch and length", ("neighbours", "pairs", "agree"), rows, note)


def troubles(document: Json) -> Table:
    """Everything that could not be run, with its error, each error of a way once."""
    rows = {(trouble["part"], "", trouble["error"]): 0 for trouble in document["troubles"]}
    for check in document["selftest"]:
        if not check["passed"]:
            error = check["trouble"] or f"error {check['error']} in the self-test, over {check['error_max']:g}"
            rows[("self-test", check["name"], error)] = 0
    for point in document["points"]:
        for cell in point["cells"]:
            if cell["median_us"] is None:
                key = (place(point), f"{cell['name']}: {cell['how']}", cell["skipped"])
                rows[key] = 0
    left_out = [f"{phase} {batch} × {sequence}" for phase, batch, sequence in document["left_out"]]
    named = [tuple(row) for row in rows] + ([("left out: no time", "", ", ".join(left_out))] if left_out else [])
    return Table("What could not be run", ("part", "module", "why"), named, left=3)
