"""`loadgen profile MODEL`: every module of a model with random weights, timed on the GPU at hand beside its floor.

It parses and prints; every number is profile/'s. torch is needed here and nowhere else in loadgen.
"""

import argparse
import json
import lzma
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadgen.cli.flags import Parser
from loadgen.cli.roofline import read_model
from loadgen.errors import BadInputError, ExitCode, LoadgenError
from loadgen.profile import tables
from loadgen.profile.bench import Bench, open_bench
from loadgen.profile.conclusions import conclude
from loadgen.profile.document import describe
from loadgen.profile.grid import coarse_first
from loadgen.profile.measure import Profile, Wanted, measure
from loadgen.profile.pages import html_page, markdown_page, svg_files
from loadgen.profile.recognise import recognise
from loadgen.profile.selftest import check_all
from loadgen.profile.timing import Effort
from loadgen.profile.works import Phase
from loadgen.roofline.gpus import GPUS, find_gpu
from loadgen.roofline.transformer import PRESETS, Transformer
from loadgen.units import NS_PER_S, parse_count, parse_duration_ns

BATCH, SEQ = "1,8,32", "1024"
SWEEP = "1,2,4,8,16,24,32,48,64,96,128,160,192,224,256,320,384,448,512,768,1024,2048"
SWEEP_QUICK = "1,2,4,8,16,32,64,128,256,512,1024"
PHASES: Mapping[str, tuple[Phase, ...]] = {
    "prefill": ("prefill",),
    "decode": ("decode",),
    "both": ("prefill", "decode"),
}


def profile_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        prog="loadgen profile",
        description="Time each module of a model with random weights on the GPU at hand, beside its floor.",
        epilog=f"Known models: {', '.join(PRESETS)}. Known GPUs: {', '.join(GPUS)}.",
    )
    about = "a known model, the path of its config.json, or profiles' own JSON files, to show them again"
    parser.add_argument("models", metavar="MODEL", nargs="+", help=about)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it, with a tiny model")
    parser.add_argument("--gpu", metavar="GPU", help="whose datasheet stands beside (default: by the device's name)")
    parser.add_argument("--limits", choices=("measured", "datasheet"), default="measured", help="of the floors shown")
    parser.add_argument("--batch", metavar="N,N", help=f"sequences at a time (default: {BATCH}); of files, those shown")
    parser.add_argument("--seq", metavar="N,N", help=f"tokens of each sequence (default: {SEQ}); of files, those shown")
    parser.add_argument("--phase", choices=tuple(PHASES), default="both")
    parser.add_argument("--sweep", metavar="N,N", help="batches of the linear layers' sweep; 'none' leaves it out")
    parser.add_argument("--repeats", metavar="N", default="20", help="samples of each module (default: %(default)s)")
    parser.add_argument(
        "--within", metavar="TIME", default="1h", help="begin no point of the grid later than this (default: 1h)"
    )
    parser.add_argument("--quick", action="store_true", help="shorter samples and sweep: a look, not a result")
    parser.add_argument("--plain", action="store_true", help="torch operations only, none of our Triton kernels")
    parser.add_argument(
        "--selftest", action="store_true", help="only compare each module with float32; exit code 1 if one is off"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write everything as JSON, while it is measured")
    parser.add_argument("--html", metavar="FILE", type=Path, help="also write tables and plots as one page")
    parser.add_argument(
        "--markdown", metavar="FILE", type=Path, help="also write them as Markdown, with SVG files beside it"
    )
    return parser


def profile(arguments: list[str]) -> int:
    """Run the command; the exit code. Bad input, no torch and no GPU are one sentence and a hint on stderr."""
    try:
        options = profile_parser().parse_args(arguments)
        documents = [found for name in options.models if (found := _read_document(Path(name)))]
        if len(documents) < len(options.models):
            if len(options.models) > 1:
                raise BadInputError("One model can be measured at a time.", "Only the JSON of profiles may be several.")
            model, wanted = read_model(options.models[0]), _wanted(options, arguments)
            if options.selftest:
                return _selftest(open_bench(options.device, plain=options.plain), model)
            documents, command = [_measure(options, model, wanted)], ""
        else:
            documents = [_chosen(options, document) for document in documents]
            command = shlex.join(["loadgen", "profile", *arguments])
        for document in documents:
            _print(document)
        _write_pages(options, documents, command)
    except LoadgenError as error:
        print(f"loadgen profile: {error}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    return ExitCode.OK


def _read_document(path: Path) -> dict[str, Any] | None:
    """The profile in this file, also in .xz; None for anything else, which is a model then."""
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        found = json.loads(lzma.decompress(content) if path.suffix == ".xz" else content)
    except (OSError, ValueError, lzma.LZMAError):
        return None
    return conclude(found) if isinstance(found, dict) and found.get("kind") == "profile" else None


def _chosen(options: argparse.Namespace, document: dict[str, Any]) -> dict[str, Any]:
    """The document with the points that its tables show. Raises BadInputError when it has none of them."""
    asked = (("batch", options.batch), ("sequence", options.seq))
    wanted: dict[str, Sequence[Any]] = {key: _counts(text) for key, text in asked if text}
    document["shown"] = wanted | {"phase": PHASES[options.phase]}
    if document["points"] and not tables.shown(document, document["points"]):
        known = {key: sorted({point[key] for point in document["points"]}) for key in ("batch", "sequence")}
        raise BadInputError(
            "No point of this profile is among those asked for.",
            f"It has batches of {', '.join(map(str, known['batch']))} and lengths of "
            f"{', '.join(map(str, known['sequence']))}.",
        )
    return document


def _wanted(options: argparse.Namespace, arguments: list[str]) -> Wanted:
    repeats, path = parse_count(options.repeats), str(options.json)
    if repeats < 5:
        raise BadInputError("A median and a spread take at least 5 repeats.", "Leave --repeats at 20.")
    sweep = options.sweep or (SWEEP_QUICK if options.quick else SWEEP)
    return Wanted(
        coarse_first(PHASES[options.phase], _counts(options.batch or BATCH), _counts(options.seq or SEQ)),
        [] if sweep == "none" else _counts(sweep),
        options.limits,
        Effort(repeats, 3e5, 5e7) if options.quick else Effort(repeats),
        parse_duration_ns(options.within) / NS_PER_S,
        options.quick,
        # the folder on that machine is nobody's business
        shlex.join(["loadgen", "profile", *(Path(word).name if word == path else word for word in arguments)]),
    )


def _counts(text: str) -> list[int]:
    counts = sorted({parse_count(part) for part in text.split(",")})
    if counts[0] < 1:
        raise BadInputError("A batch and a sequence have at least one element.", "Give --batch 1 --seq 1024.")
    return counts


def _measure(options: argparse.Namespace, model: Transformer, wanted: Wanted) -> dict[str, Any]:
    named, path = find_gpu(options.gpu) if options.gpu else None, options.json
    if path:
        _write(path.with_name(f"{path.name}.part"), "")  # refuse before minutes of measuring
    bench = open_bench(options.device, plain=options.plain)
    datasheet = named or recognise(bench.name, bench.memory_bytes)
    if wanted.chosen == "datasheet" and datasheet is None:
        raise BadInputError(f"{bench.name} is not in the table of GPUs.", f"Give --gpu, one of {', '.join(GPUS)}.")

    def say(part: str) -> None:
        print(f"loadgen profile: {part}", file=sys.stderr, flush=True)

    def keep(made: Profile) -> dict[str, Any]:
        document = describe(made)
        if path:
            _write(path, _text(document))
        return document

    return keep(measure(bench, model, datasheet, wanted, say, keep))


def _text(document: Mapping[str, Any]) -> str:
    """JSON whose long lists have a line an entry: small, and yet to be read and compared."""
    lines = []
    for key, value in document.items():
        plain = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        if isinstance(value, list) and len(value) > 1:
            inner = (json.dumps(one, allow_nan=False, ensure_ascii=False, separators=(",", ":")) for one in value)
            plain = "[\n" + ",\n".join(inner) + "\n]"
        lines.append(f"{json.dumps(key)}:{plain}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write(path: Path, text: str) -> None:
    """Through a file beside it, so that a run that is cut short leaves the last whole document."""
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written: {error.strerror}.", "Give a file in a folder of yours."
        ) from error


def _write_pages(options: argparse.Namespace, documents: Sequence[dict[str, Any]], command: str) -> None:
    if options.html and len(documents) > 1:
        raise BadInputError("A page in HTML is of one profile.", "Give --html with one of them at a time.")
    if options.html:
        _write(options.html, html_page(documents[0]))
    if options.markdown:
        _write(options.markdown, markdown_page(documents, command))
        for document in documents:
            for name, text in svg_files(document).items():
                _write(options.markdown.with_name(name), text)


def _selftest(bench: Bench, model: Transformer) -> int:
    """Print every module's error; 1 if a result is wrong, 0 also where a shape has no kernel."""
    rows, wrong = [], []
    for check in check_all(bench, model):
        verdict = check.trouble or ("" if check.passed else "WRONG")
        wrong += [check.name] if verdict == "WRONG" else []
        rows.append(
            (check.name, verdict[:60], "—" if check.error is None else f"{check.error:.1e}", f"{check.error_max:g}")
        )
    title = f"{model.name} on {bench.name}: ‖result − float32‖ / ‖float32‖"
    console = _console()
    _print_table(console, tables.Table(title, ("module", "", "error", "at most"), rows, left=2))
    console.print(f"{len(wrong)} of {len(rows)} modules are wrong{': ' if wrong else ''}{'; '.join(wrong)}.")
    return ExitCode.THRESHOLD if wrong else ExitCode.OK


def _print(document: Mapping[str, Any]) -> None:
    console = _console()
    console.print(tables.headline(document))
    for table in tables.all_tables(document):
        console.print()
        _print_table(console, table)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _print_table(console: Console, table: tables.Table) -> None:
    drawn = Table(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), title=table.title, title_justify="left", title_style="bold"
    )
    for k, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if k < table.left else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    if table.note:
        console.print(table.note)
