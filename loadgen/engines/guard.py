"""A process that holds an engine and lets nothing of it outlive loadgen: `python -m loadgen.engines.guard COMMAND …`.

The engine runs in a session of its own, with this process as its parent. When stdin ends (loadgen has gone, however it
went), on SIGTERM, or when the engine's first process dies, everything that the engine started is ended: kindly, and ten
seconds later not. Standard library only: it must be up before the engine is, and never fail.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

KIND_S = 10.0


def main(command: list[str]) -> int:
    """Run until the engine ends or is to end; its exit code."""
    stop = threading.Event()
    for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(kind, lambda *_: stop.set())
    try:
        engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {os.strerror(error.errno or 0)}\n")
        return 127
    threading.Thread(target=_await_end_of_stdin, args=(stop,), daemon=True).start()
    threading.Thread(target=_await_end, args=(engine, stop), daemon=True).start()
    while not stop.wait(1.0):
        pass  # a wait without end would not see signals
    crashed = engine.poll()
    _end(engine)
    code = engine.wait()
    if crashed is None:
        return 0  # it was told to
    return code if code >= 0 else 128 - code


def _await_end_of_stdin(stop: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()


def _await_end(engine: "subprocess.Popen[bytes]", stop: threading.Event) -> None:
    engine.wait()
    stop.set()


def _end(engine: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to all that is left of it, SIGKILL to what is left then."""
    for kind, patience_s in ((signal.SIGTERM, KIND_S), (signal.SIGKILL, KIND_S)):
        left = _members(engine.pid)
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, kind)
        deadline = time.monotonic() + patience_s
        while left and time.monotonic() < deadline:
            engine.poll()  # a child that nobody waits for stays in the list
            left = _members(engine.pid)
            time.sleep(0.02)
        if not left:
            return


def _members(leader: int) -> set[int]:
    """The engine's session, and whatever descends from it in a session of its own. Zombies are gone."""
    parents, found = {}, set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # pid (name) state ppid pgrp session …; the name may hold anything, brackets too
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            parents[int(entry.name)] = int(fields[1])
            if int(fields[3]) == leader:
                found.add(int(entry.name))
    found |= {leader} & set(parents)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
