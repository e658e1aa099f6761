"""Starting a server of our own and stopping it again: its own process group, its words in a log, no orphan.

The simulator says itself when it is ready; a real engine is asked (`starting.py`). Nothing of either is imported.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadgen.errors import EngineError

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 25.0  # a guard gives its engine ten seconds, and ten more


@dataclass(slots=True)
class Launched:
    """A running server. Use as a context manager, or call `stop`. `process` is the simulator, or an engine's guard."""

    process: "subprocess.Popen[bytes]"
    base_url: str
    about: dict[str, Any]  # what it said of itself when it was ready

    def __enter__(self) -> "Launched":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and all that it started: the end of its stdin says so, then SIGTERM, then SIGKILL."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        for kind in (None, signal.SIGTERM, signal.SIGKILL):
            if kind is not None and self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT_S)
                break
        if self.process.stdout is not None:
            self.process.stdout.close()


def launch_simulator(arguments: list[str], log: Path) -> Launched:
    """Start `python -m loadgen.simulator` and wait until it is ready. Raises EngineError with its last words."""
    command = [sys.executable, "-m", "loadgen.simulator", "--exit-with-stdin", *arguments]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, start_new_session=True
        )
    launched = Launched(process, "", {})
    try:
        launched.about = _await_ready(process, log)
    except BaseException:
        launched.stop()
        raise
    launched.base_url = str(launched.about["ready"])
    return launched


def _await_ready(process: "subprocess.Popen[bytes]", log: Path) -> dict[str, Any]:
    """The one JSON line that a ready simulator prints."""
    assert process.stdout is not None
    deadline = time.monotonic() + READY_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise EngineError(f"The simulator was not ready after {READY_TIMEOUT_S:.0f} s.", f"Its log is {log}.")
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            process.wait()
            words = log.read_text(errors="replace").strip().splitlines()
            reason = words[-1].rstrip(".") if words else "no reason given"
            hint = "" if "--help" in reason else "`loadgen serve simulator --help` lists its options."
            raise EngineError(f"The simulator did not start: {reason}.", hint)
        line += piece
    about: dict[str, Any] = msgspec.json.decode(line)
    return about
