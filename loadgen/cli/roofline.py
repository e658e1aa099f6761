"""`loadgen roofline MODEL --gpu GPU`: what the arithmetic says before anything runs, as tables, JSON or a page.

It parses and prints; every number is roofline/'s. It must never touch a GPU or the network.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadgen.cli.flags import Parser
from loadgen.errors import BadInputError, ExitCode, LoadgenError
from loadgen.report import plots
from loadgen.report.markup import Markup, element
from loadgen.roofline.bound import Roofline, analyse, compute_bound_batch
from loadgen.roofline.document import answer, describe, headline, phase
from loadgen.roofline.gpus import GPUS, Gpu, find_gpu, own_limits
from loadgen.roofline.paper import paper_layer
from loadgen.roofline.step import PRECISIONS, Step, decode, prefill
from loadgen.roofline.transformer import PRESETS, Transformer, find_transformer, from_config
from loadgen.units import format_duration, format_number, parse_count


def roofline_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        prog="loadgen roofline",
        description="FLOPs, bytes, arithmetic intensity, bound and time floor of every operation of a model on a GPU.",
        epilog=f"Known models: {', '.join(PRESETS)}. Known GPUs: {', '.join(GPUS)}.",
    )
    parser.add_argument("model", metavar="MODEL", help="a known model, or the path of a Hugging Face config.json")
    parser.add_argument("--gpu", metavar="GPU", help="a known GPU: H200, A100, RTX-4090 …")
    parser.add_argument(
        "--limits", metavar="TFLOPS,GBPS", help="your own limits, as measured, in place of the datasheet's"
    )
    parser.add_argument("--batch", metavar="N,N", default="1,8,32", help="sequences at a time (default: %(default)s)")
    parser.add_argument("--seq", metavar="N,N", default="1024", help="tokens of each sequence (default: %(default)s)")
    parser.add_argument("--phase", choices=("prefill", "decode", "both"), default="both")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="bf16", help="of the layers' matrices")
    parser.add_argument("--attention", choices=("eager", "flash", "paged"), default="flash")
    parser.add_argument(
        "--kv", choices=("paged", "blocked", "concatenated"), default="paged", help="strategy of the KV cache"
    )
    parser.add_argument("--unfused", action="store_true", help="one kernel an operation, as Transformers runs them")
    parser.add_argument("--noncausal", action="store_true", help="count masked scores too, as the paper does")
    parser.add_argument("--paper", action="store_true", help="also the published order formulas of arXiv 2404.11502")
    parser.add_argument("--json", action="store_true", help="everything as JSON on stdout, and nothing else")
    parser.add_argument("--html", metavar="FILE", type=Path, help="also write the roofline plot as one HTML file")
    return parser


def roofline(arguments: list[str]) -> int:
    """Run the command; the exit code. Bad input is one sentence and a hint on stderr."""
    try:
        options = roofline_parser().parse_args(arguments)
        model, gpu = read_model(options.model), _read_gpu(options.gpu, options.limits)
        rooflines = [analyse(model, step, gpu) for step in _steps(options)]
        if options.paper:
            paper_layer(model, rooflines[0].step)  # refuse before half of the tables are printed
        if options.json:
            print(json.dumps(describe(rooflines, paper=options.paper), indent=2, allow_nan=False))
        else:
            _print(rooflines, paper=options.paper)
        if options.html:
            _write_page(rooflines, options.html)
    except LoadgenError as error:
        print(f"loadgen roofline: {error}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    return ExitCode.OK


def read_model(text: str) -> Transformer:
    """A known model, or the config.json at a path. Raises BadInputError."""
    path = Path(text)
    if path.is_dir():
        path /= "config.json"
    if not path.is_file():
        return find_transformer(text)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read as JSON: {error}.", "Give a Hugging Face config.json.") from error
    if not isinstance(config, dict):
        raise BadInputError(f"{path} is not a JSON object.", "Give a Hugging Face config.json.")
    return from_config(config, path.resolve().parent.name if path.stem == "config" else path.stem)


def _read_gpu(name: str | None, limits: str | None) -> Gpu:
    if name is None and limits is None:
        raise BadInputError("On which GPU?", f"Give --gpu, one of {', '.join(GPUS)}, or its --limits TFLOPS,GBPS.")
    known = find_gpu(name) if name is not None else None
    return known if known and limits is None else own_limits(limits or "", known)


def _steps(options: argparse.Namespace) -> list[Step]:
    choices = {
        "precision": options.precision,
        "attention": options.attention,
        "kv_cache": options.kv,
        "fused": not options.unfused,
        "causal": not options.noncausal,
    }
    phases = {"prefill": (prefill,), "decode": (decode,), "both": (prefill, decode)}[options.phase]
    batches, sequences = ([parse_count(part) for part in text.split(",")] for text in (options.batch, options.seq))
    return [step(batch, length, **choices) for step in phases for length in sequences for batch in batches]


_COLUMNS = ("operation", "FLOPs", "bytes", "FLOPs/B", "bound", "floor", "share", "turns at")
_NOTE = (
    "FLOPs and bytes are of one layer, floors and shares of the whole step. A floor is the least time, not a forecast. "
    "'turns at' is the batch from which an operation is bound by compute."
)


def _cells(roofline: Roofline) -> list[tuple[str, ...]]:
    """A row of words an operation, and the total: FLOPs and bytes of one layer, floor and share of the whole step."""
    cells = []
    for row in roofline.rows:
        turning = compute_bound_batch(roofline.model, roofline.step, roofline.gpu, row.name)
        cells.append(
            (
                row.name,
                _scaled(row.flops),
                f"{_scaled(row.bytes)}B",
                format_number(row.intensity),
                row.bound,
                format_duration(row.step_ns),
                f"{roofline.share(row):.1%}",
                f"{turning:,}" if turning else "never",
            )
        )
    total = (_scaled(roofline.flops), f"{_scaled(roofline.bytes)}B", format_number(roofline.intensity), roofline.bound)
    turning = compute_bound_batch(roofline.model, roofline.step, roofline.gpu)
    end = (format_duration(roofline.floor_ns), "100%", f"{turning:,}" if turning else "never")
    return [*cells, (f"step, {roofline.model.layers} layers", *total, *end)]


def _scaled(value: float) -> str:
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{format_number(value / size)} {prefix}"
    return f"{format_number(value)} "


def _title(roofline: Roofline) -> str:
    return f"{phase(roofline)}, batch {roofline.step.batch:,}, {roofline.step.context:,} tokens a sequence"


def _print(rooflines: Sequence[Roofline], *, paper: bool) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(headline(rooflines[0]))
    for one in rooflines:
        table = _table(f"\n{_title(one)}", _COLUMNS)
        *operations, total = _cells(one)
        for cells in operations:
            table.add_row(*cells, style="dim" if cells[6] == "0.0%" else None)
        table.add_section()
        table.add_row(*total, style="bold")
        console.print(table)
        console.print(answer(one))
        if paper:
            console.print(_paper_table(one))
    console.print(f"\n{_NOTE}")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("operation", "bound") else "right", no_wrap=True)
    return table


def _paper_table(one: Roofline) -> Table:
    """The published formulas under their own title, so that no figure of theirs is taken for one of ours."""
    title = "\nOrder formulas of arXiv 2404.11502, one layer: constants and element sizes are dropped"
    table = _table(title, ("operation", "FLOPs", "order of MOPs", "order of intensity"))
    for order in paper_layer(one.model, one.step):
        table.add_row(order.name, _scaled(order.flops), _scaled(order.mops), format_number(order.intensity))
    return table


def _write_page(rooflines: Sequence[Roofline], path: Path) -> None:
    style = resources.files("loadgen.report").joinpath("page.css").read_text(encoding="utf-8")
    title = f"loadgen roofline: {rooflines[0].model.name} on {rooflines[0].gpu.name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style)),
    )
    phases = [[one for one in rooflines if phase(one) == name] for name in ("prefill", "decode")]
    body = element(
        "body",
        element("header", element("p", "loadgen roofline", class_="eyebrow"), element("h1", headline(rooflines[0]))),
        element("section", element("div", *(_figure(points) for points in phases if points), class_="charts")),
        *(_section(one) for one in rooflines),
        element("p", _NOTE, class_="note"),
        element("footer", _sources(rooflines[0].gpu)),
    )
    try:
        path.write_text(f"<!doctype html>\n{element('html', head, body, lang='en')}\n", encoding="utf-8")
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written: {error.strerror}.", "Give --html a file in a folder of yours."
        ) from error


def _figure(points: Sequence[Roofline]) -> Markup:
    """Attainable TFLOP/s over FLOPs per byte, both logarithmic: the roof, and each operation below it."""
    gpu, name = points[0].gpu, phase(points[0])
    marks = [_marks(one) for one in points]
    left = min(mark.x for series in marks for mark in series) / 2
    right = max(4 * gpu.ridge(), *(2 * mark.x for series in marks for mark in series))
    bottom = left * gpu.bandwidth.value / 1000
    peaks = sorted({"bf16", PRECISIONS[points[0].step.precision].peak}, key=gpu.tflops)  # attention stays under bf16's
    frame = plots.make_frame(
        lambda start, end: plots.log_scale([left, right], start, end),
        lambda start, end: plots.log_scale([bottom, gpu.tflops(peaks[-1])], start, end),
    )
    layers = []
    for peak in peaks:
        top = gpu.tflops(peak)
        layers.append(plots.line(frame, [left, gpu.ridge(peak), right], [bottom, top, top], "roof"))
    layers += [plots.dots(frame, series, f"s{k % 6}") for k, series in enumerate(marks)]
    picture = plots.chart(
        frame, layers, name=f"Roofline of {name}", x_title="FLOPs per byte", y_title="TFLOP/s at most"
    )
    entries = [(f"s{k % 6}", f"b = {one.step.batch:,}, {one.step.context:,} tokens") for k, one in enumerate(points)]
    caption = element("figcaption", element("h3", name.capitalize()), plots.legend(entries, toggles=False))
    return element("figure", caption, picture, class_="chart")


def _marks(one: Roofline) -> list[plots.Dot]:
    return [
        plots.Dot(
            row.intensity,
            row.flops / row.floor_ns / 1e3,
            f"{row.name}, batch {one.step.batch:,}: {format_number(row.intensity)} FLOPs/byte, {row.bound}-bound, "
            f"{format_duration(row.step_ns)}, {one.share(row):.1%} of the step",
        )
        for row in one.rows
        if row.flops
    ]


def _section(one: Roofline) -> Markup:
    head = element("thead", element("tr", *(element("th", column) for column in _COLUMNS)))
    rows = [
        element("tr", element("th", cells[0]), *(element("td", cell) for cell in cells[1:])) for cells in _cells(one)
    ]
    table = element("table", head, element("tbody", *rows), class_="figures")
    title = element("h2", _title(one).capitalize())
    return element("section", title, element("p", answer(one), class_="lead"), element("div", table, class_="scroll"))


def _sources(gpu: Gpu) -> str:
    return " · ".join(sorted({limit.source for limit in (gpu.bf16, gpu.fp8, gpu.bandwidth, gpu.memory) if limit}))
