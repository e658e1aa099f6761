"""`loadgen serve ENGINE`: a server in the foreground, with its own options, until Ctrl-C."""

import os
import sys

from loadgen.errors import BadInputError, ExitCode

ENGINES = ("simulator",)


def serve(arguments: list[str]) -> int:  # noqa: RET503 (execv never returns)
    """Become the engine; everything after its name is its own."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: loadgen serve simulator [options]\n\n  simulator   an OpenAI-compatible server of ours")
        print("\n  loadgen serve simulator --help   its options")
        return ExitCode.OK
    if arguments[0] not in ENGINES:
        raise BadInputError(f"There is no engine '{arguments[0]}'.", f"Engines: {', '.join(ENGINES)}.")
    # The engine takes this process over: signals reach it, its exit code is ours, and no orphan can stay behind.
    os.execv(sys.executable, [sys.executable, "-m", "loadgen.simulator", *arguments[1:]])  # noqa: S606 (no shell is wanted)
