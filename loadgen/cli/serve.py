"""`loadgen serve ENGINE`: a server in the foreground, with its own options, until Ctrl-C."""

import subprocess
import sys

from loadgen.errors import BadInputError, ExitCode

ENGINES = ("simulator",)


def serve(arguments: list[str]) -> int:
    """Run the engine as a process of its own and pass everything on."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: loadgen serve simulator [options]\n\n  simulator   an OpenAI-compatible server of ours")
        print("\n  loadgen serve simulator --help   its options")
        return ExitCode.OK
    if arguments[0] not in ENGINES:
        raise BadInputError(f"There is no engine '{arguments[0]}'.", f"Engines: {', '.join(ENGINES)}.")
    process = subprocess.Popen([sys.executable, "-m", "loadgen.simulator", *arguments[1:]])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the engine got the signal too and ends by itself
