"""`loadgen COMMAND`: find the command, run it, turn every error into one sentence and an exit code.

Nothing heavy is imported here: a command's module is imported when it is called, so that `--help` answers at once.
"""

import difflib
import errno
import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

import loadgen
from loadgen.errors import BadInputError, ExitCode, LoadgenError

# name → (module, function, what it does)
COMMANDS = {
    "sweep": ("loadgen.cli.load", "sweep", "one run per request rate; where the server saturates, and why"),
    "saturate": (
        "loadgen.cli.saturate",
        "saturate",
        "search: the rate it holds, also within an SLO, and what stops it",
    ),
    "run": ("loadgen.cli.load", "run", "one run: open loop, closed loop, or both"),
    "batch": ("loadgen.cli.load", "batch", "offline: a fixed set of prompts in batches of 1, 2, 4 …"),
    "serve": (
        "loadgen.cli.serve",
        "serve",
        "start an engine and wait until it is ready; the simulator is always there",
    ),
    "model": ("loadgen.cli.model", "model", "write a generated model to serve when there is none"),
    "replay": ("loadgen.cli.replay", "replay", "a production trace against a server, as it was recorded"),
    "capture": ("loadgen.cli.capture", "capture", "a recording proxy: from live traffic to a replayable trace"),
    "calibrate": ("loadgen.cli.calibrate", "calibrate", "what this client can do on this machine"),
    "trace": ("loadgen.cli.trace", "trace", "inspect, convert and fetch traces of production traffic"),
    "report": ("loadgen.cli.report", "report", "rebuild the reports of a run or a sweep"),
    "roofline": (
        "loadgen.cli.roofline",
        "roofline",
        "what a GPU could do at most with a model, operation by operation",
    ),
    "profile": ("loadgen.cli.profile", "profile", "the same operations timed on the GPU at hand, beside their floors"),
}

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def help_text() -> str:
    """The page of `loadgen --help`."""
    lines = ["usage: loadgen COMMAND [options]", ""]
    lines += [
        "How many requests per second does this LLM deployment hold, within which latencies, and what stops it?",
        "",
    ]
    lines += [f"  {name:<10} {about}" for name, (_, _, about) in COMMANDS.items()]
    lines += [
        "",
        "  loadgen sweep --rates 1..64                                  try it: an embedded simulator is the server",
    ]
    lines += ["  loadgen sweep --rates 1..64 --base-url http://127.0.0.1:8000   measure your own"]
    lines += ["  loadgen COMMAND --help                                       the options of a command"]
    return "\n".join(lines)


def run_command(arguments: list[str]) -> int:
    """The exit code of a command line; never raises."""
    try:
        return _dispatch(arguments)
    except LoadgenError as error:
        print(f"loadgen: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("loadgen: interrupted.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough. Python must not complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)  # Arrow's own words are for programmers
        print(f"loadgen: {words}{f' ({error.filename})' if error.filename else ''}.", file=sys.stderr)
        if error.errno in _DISK_FULL:
            print("  What was written before is safe; free some space, or choose another place.", file=sys.stderr)
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001 (whatever it is, the user gets a sentence)
        path = Path(tempfile.gettempdir()) / f"loadgen-bug-{os.getpid()}.txt"
        path.write_text(traceback.format_exc())
        print(f"loadgen: this is a bug of loadgen: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"  Please report it with the file {path}.", file=sys.stderr)
        return ExitCode.USAGE


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return ExitCode.OK
    name, rest = arguments[0], arguments[1:]
    if name in ("-V", "--version", "version"):
        print(f"loadgen {loadgen.__version__}")
        return ExitCode.OK
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        guess = f"Did you mean 'loadgen {near[0]}'?" if near else f"Commands: {', '.join(COMMANDS)}."
        raise BadInputError(f"There is no command '{name}'.", guess)
    module, function, _ = COMMANDS[name]
    code: int = getattr(importlib.import_module(module), function)(rest)
    return code
