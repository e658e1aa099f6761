"""`loadgen calibrate`: what this client can do on this machine, on the screen and in the user's cache."""

import json
import sys
from pathlib import Path
from typing import Any

from loadgen.errors import ExitCode
from loadgen.parser import Parser
from loadgen.units import NS_PER_MS, format_duration, format_number

_LADDERS = {
    "events_per_s": ("output tokens", "/s"),
    "requests_per_s": ("requests", "/s"),
    "streams": ("streams", "at once"),
}


def calibrate_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        prog="loadgen calibrate",
        description="What this client can do on this machine, in half a minute: output tokens/s, requests/s, streams "
        "at once, and how wrong its stamps are, against a server that does nothing but answer. A run or sweep that "
        "asks for more is warned before it starts.",
    )
    parser.add_argument("--json", action="store_true", help="the result on stdout, nothing else")
    parser.add_argument("--quiet", action="store_true", help="only the result")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="keep it there ($LOADGEN_CALIBRATION, or the user's cache)"
    )
    return parser


def calibrate(arguments: list[str]) -> int:
    """Measure, keep, show."""
    options = calibrate_parser().parse_args(arguments)

    from loadgen.calibrate import calibrate as measure
    from loadgen.ceiling import cache_path, check_place, keep

    place = options.out or cache_path()
    check_place(place)
    silent = options.quiet or options.json

    def say(ladder: str, text: str) -> None:
        if not silent:
            print(f"  {_LADDERS[ladder][0]} {_LADDERS[ladder][1]}, {text}", file=sys.stderr, flush=True)

    if not silent:
        print("Half a minute against a server that does nothing but answer; leave the machine alone.", file=sys.stderr)
    found = measure(say)
    keep(found, place)
    print(json.dumps(found) if options.json else screen_text(found, place))
    return ExitCode.OK


def screen_text(found: dict[str, Any], place: Path) -> str:
    """The last screen: what held, and what gave way above it."""
    machine = found["machine"]
    lines = [f"This client on this machine ({machine['cores']} cores, Python {machine['python']}) holds", ""]
    for name, (what, unit) in _LADDERS.items():
        told = found[name]
        lines.append(f"  {what:<14}{format_number(told['value']):>8} {unit:<8} {_above(told)}")
    error = found["stamp_error"]
    if error["p50_ms"] is not None:
        median, p99 = (format_duration(error[key] * NS_PER_MS) for key in ("p50_ms", "p99_ms"))
        lines.append(
            f"  {'stamps':<14}{median:>8} off      in the median, {p99} at p99, against the server's own clock"
        )
    lines += ["", f"Kept in {place}. A run or sweep that asks for more is warned before it starts."]
    return "\n".join(lines)


def _above(told: dict[str, Any]) -> str:
    """What gave way on the next rung, and whose limit that is."""
    if told["limited_by"] is None:
        return "and nothing gave way: no more was tried"
    rung = next((each["asked"] for each in told["tried"] if each["asked"] > told["value"]), None)
    where = "" if rung is None else f"at {format_number(rung)} "
    if told["limited_by"] == "server":
        return f"or more: {where}{told['seen']}, so the client's own limit is higher"
    return f"{where}{told['seen']}"
