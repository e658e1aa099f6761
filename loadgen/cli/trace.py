"""`loadgen trace inspect|convert|fetch`: look at production traffic, turn one format into another, bring public traces.

It parses and prints; figures are trace/'s, the page is report/'s.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadgen.cli.flags import Parser
from loadgen.cli.screen import screen
from loadgen.errors import BadInputError, ExitCode
from loadgen.units import format_duration, format_number, parse_count, parse_duration_ns, s_to_ns

_ABOUT = {
    "inspect": "What is in a trace: format, rows, rates, lengths, sessions, shared prefixes, and everything odd.",
    "convert": "Write a trace in another format: loadgen's own (.jsonl or .parquet), Mooncake's, vLLM's timed_trace.",
    "fetch": "Bring a public trace, by checksum and with its licence. Without a name: which there are.",
}
_BARS = " ▁▂▃▄▅▆▇█"


def trace_parser(action: str) -> Parser:
    """The options of an action."""
    parser = Parser(prog=f"loadgen trace {action}", description=_ABOUT[action], allow_abbrev=False)
    if action == "fetch":
        parser.add_argument("name", nargs="?", metavar="NAME", help="of a public trace")
        parser.add_argument("--out", type=Path, metavar="FILE", help="where to (its own name, here)")
        return parser
    parser.add_argument("file", type=Path, metavar="FILE", help="a trace, or a folder of one")
    parser.add_argument("--epoch", type=int, metavar="N", help="which recording, where the clock starts again; 0: all")
    parser.add_argument("--bytes-per-token", type=float, metavar="N", help="input tokens from an access log's bytes")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of a generator's traffic (0)")
    parser.add_argument("--start", metavar="TIME", default="0", help="of a generator: from this time of its day (0)")
    parser.add_argument("--duration", metavar="TIME", help="of a generator: how much of it (10m)")
    if action == "inspect":
        parser.add_argument("--context", metavar="TOKENS", help="count requests that are longer, as in 32k")
        parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout, and nothing else")
        parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with charts")
    else:
        parser.add_argument("--to", required=True, metavar="FORMAT", help="loadgen, mooncake or vllm")
        parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="what to write")
    return parser


def trace_parsers() -> dict[str, Parser]:
    """For docs/cli.md."""
    return {action: trace_parser(action) for action in _ABOUT}


def trace(arguments: list[str]) -> int:
    """Run the command; the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        for action, about in _ABOUT.items():
            print(f"  loadgen trace {action:<8} {about}")
        print("  loadgen replay TRACE     Send it to a server.")
        return ExitCode.OK
    action, rest = arguments[0], arguments[1:]
    if action not in _ABOUT:
        raise BadInputError(f"There is no 'loadgen trace {action}'.", f"There is: {', '.join(_ABOUT)}.")
    options = trace_parser(action).parse_args(rest)
    return {"inspect": _inspect, "convert": _convert, "fetch": _fetch}[action](options)


def _load(options: argparse.Namespace, epoch: int | None) -> Any:
    from loadgen.trace.load import load_trace

    if options.bytes_per_token is not None and not options.bytes_per_token > 0:
        raise BadInputError("--bytes-per-token must be more than 0.", "4 is usual for English text.")
    if options.seed < 0:
        raise BadInputError("--seed must not be negative.")
    return load_trace(
        options.file,
        epoch=epoch,
        seed=options.seed,
        start_ns=parse_duration_ns(options.start),
        duration_ns=parse_duration_ns(options.duration) if options.duration else None,
        bytes_per_token=options.bytes_per_token,
    )


def _inspect(options: argparse.Namespace) -> int:
    from loadgen.trace.figures import inspect

    context = parse_count(options.context) if options.context else None
    found = inspect(_load(options, 0 if options.epoch is None else options.epoch), context)
    if options.html:
        _write_page(found, options.html)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        return ExitCode.OK
    _print(found, screen())
    if options.html:
        print(f"\nPage: {options.html}")
    return ExitCode.OK


def _write_page(found: dict[str, Any], path: Path) -> None:
    from loadgen.report.trace_page import render_trace

    try:
        path.write_text(render_trace(found), encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror}.", "Give --html a file of yours.") from error


def _convert(options: argparse.Namespace) -> int:
    from loadgen.trace.write import FORMS, write

    if options.to not in FORMS:
        raise BadInputError(f"--to '{options.to}' is no format that is written.", f"There is: {', '.join(FORMS)}.")
    if options.out.exists() and options.out.resolve() == options.file.resolve():
        raise BadInputError("--out is the trace itself.", "Give another name.")
    made = _load(options, options.epoch)
    told = write(made, options.to, options.out)
    print(f"{options.out}: {len(made):,} requests in {options.to}'s format, from {made.survey.format}.")
    for sentence in [*(f"{count:,} rows dropped: {why}." for why, count in made.survey.dropped.items()), *told]:
        print(f"  {sentence}")
    if options.to == "loadgen":
        print(f"  loadgen replay {options.out} --base-url http://127.0.0.1:8000")
    return ExitCode.OK


def _fetch(options: argparse.Namespace) -> int:
    from loadgen.trace.fetch import SOURCES, fetch

    if options.name is None:
        for name, source in SOURCES.items():
            print(f"  {name:<25} {source.licence:<11} {source.about}")
        return ExitCode.OK
    if options.name not in SOURCES:
        raise BadInputError(
            f"There is no public trace '{options.name}' in the table.", f"There is: {', '.join(SOURCES)}."
        )
    source = SOURCES[options.name]
    path = options.out or Path(source.name)
    print(f"{source.url}\n  {source.about}. Licence: {source.licence}.", flush=True)

    def tell(have: int, total: int) -> None:
        if sys.stderr.isatty():
            share = f"{have / total:4.0%} of {total / 1e6:,.1f} MB" if total else f"{have / 1e6:,.1f} MB"
            print(f"\r  {share}", end="", file=sys.stderr, flush=True)

    found = fetch(source, path, tell)
    known = "as known" if source.sha256 and "…" not in source.sha256 else "as far as it is published"
    print(f"\n{path}: sha256 {found}, {known if source.sha256 else 'and none is published to hold it against'}.")
    print(f"  loadgen trace inspect {path}")
    return ExitCode.OK


def _print(found: dict[str, Any], console: Console) -> None:
    """The last screen: what it is, its figures, its course, what is odd."""
    dropped = "".join(f", {count:,} dropped ({why})" for why, count in found["dropped"].items())
    console.print(Text(f"{found['format']}: {found['rows_kept']:,} requests", style="bold"), end="")
    console.print(Text(f" of {found['rows_read']:,} rows read{dropped}."))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in _facts(found):
        table.add_row(Text(name, style="dim"), Text(value))
    console.print(table)
    lengths = _lengths(found)
    if lengths is not None:
        console.print()
        console.print(lengths)
    course = found["over_time"]
    if course:
        console.print(Text("\nover time, from the first arrival to the last", style="dim"))
        for name, key, unit in (
            ("rate", "rate", "req/s"),
            ("prompt", "input_tokens", "tok"),
            ("answer", "output_tokens", "tok"),
        ):
            known = [value for value in course[key] if value is not None]
            if known and any(known):
                line = sparkline(course[key], min(120, max(20, console.width - 30)))
                console.print(
                    Text.assemble((f"{name:<7}", "dim"), line, (f"  ≤ {format_number(max(known))} {unit}", "dim"))
                )
    for sentence in found["oddities"]:
        console.print(Text.assemble(("● ", "yellow"), sentence))


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, words) of each figure that is known."""
    facts = [("sha256", found["sha256"])]
    if found["zero"]:
        facts.append(("begins", found["zero"]))
    if found["span_s"] is not None:
        facts.append(("span", f"{_long(found['span_s'])} ({found['span_s']:,.1f} s)"))
    if found["mean_rate"] is not None:
        peaks = " · ".join(f"{count:,} in any {width}" for width, count in found["peaks"].items())
        mean = f"{found['mean_rate']:,.2f}" if found["mean_rate"] >= 0.1 else format_number(found["mean_rate"])
        facts.append(("rate", f"{mean} req/s mean · peak {peaks}"))
    if found["iat_cv"] is not None:
        spread = [f"{value:.2f} at {width}" for width, value in found["dispersion"].items() if value is not None]
        facts.append(("burstiness", f"gaps' CV {found['iat_cv']:.2f} · dispersion {' · '.join(spread) or '—'}"))
        facts.append(("longest gap", _long(found["longest_gap_s"])))
    sessions = found["sessions"]
    if sessions:
        think = sessions["think_p50_s"]
        words = f"{sessions['number']:,} of {sessions['turns_mean']:.2f} turns (at most {sessions['turns_max']:,})"
        words += f" · think time p50 {format_duration(s_to_ns(think))}" if think is not None else ""
        words += f" · {sessions['joins']:,} joins" if sessions["joins"] else ""
        facts.append(("sessions", words))
    prefix = found["prefix"]
    if prefix and prefix["hit_rate"] is not None:
        words = f"{prefix['hit_rate']:.1%} of prompt tokens, with an infinite cache · {prefix['distinct_blocks']:,} "
        words += f"distinct of {prefix['blocks']:,} blocks of {prefix['block_tokens']} tokens"
        facts.append(("ideal hit rate", words))
    if found["models"]:
        most = sorted(found["models"].items(), key=lambda item: -item[1])
        rest = f" … {len(most) - 4} more" if len(most) > 4 else ""
        facts.append(("models", ", ".join(f"{name} {count:,}" for name, count in most[:4]) + rest))
    return facts


def _long(seconds: float) -> str:
    """A stretch of a trace, which may have lasted for months."""
    minutes = round(seconds / 60)
    if minutes < 120:
        return format_duration(s_to_ns(seconds))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days:,} d {hours} h" if days > 1 else f"{24 * days + hours} h {minutes:02d} m"


def _lengths(found: dict[str, Any]) -> Table | None:
    rows = [(name, found[key]) for name, key in (("prompt", "input_tokens"), ("answer", "output_tokens")) if found[key]]
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("tokens", style="dim")
    for column in ("mean", "p50", "p90", "p99", "max", "sum"):
        table.add_column(column, justify="right")
    for name, figures in rows:
        values = (figures["mean"], figures["p50"], figures["p90"], figures["p99"], figures["max"], figures["sum"])
        table.add_row(name, *(f"{value:,.1f}".removesuffix(".0") for value in values))
    return table


def sparkline(values: list[float | None], width: int) -> str:
    """Values as a line of bars from zero, averaged down to at most `width`; a blank where there is none."""
    step = -(-len(values) // width)
    parts = [[each for each in values[k : k + step] if each is not None] for k in range(0, len(values), step)]
    means = [sum(part) / len(part) if part else None for part in parts]
    top = max((mean for mean in means if mean is not None), default=0) or 1
    return "".join(" " if mean is None else _BARS[max(mean > 0, round(mean / top * 8))] for mean in means)
