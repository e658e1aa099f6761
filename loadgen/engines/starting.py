"""A real engine from its name to its first token: plan, port, process, health, one request; or one sentence why not.

The plan comes from the engine's script (`servers/`), run by the engine's own Python. What an engine writes goes to its
log; whoever waits is told every quarter of a minute that it lives.
"""

import argparse
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from loadgen.endpoints.openai import PATHS, failure_text
from loadgen.engines.asking import Asker
from loadgen.engines.catalog import find_engine, script_of
from loadgen.engines.failures import explain, last_lines
from loadgen.engines.guard import __file__ as guard_script
from loadgen.engines.launch import Launched
from loadgen.errors import BadInputError, EngineError, TargetError
from loadgen.target import Target
from loadgen.tinymodel.write import cached_tiny
from loadgen.units import NS_PER_S, parse_duration_ns

READY_TIMEOUT_NS = 600 * NS_PER_S
_PLAN_TIMEOUT_S = 60.0  # a script imports nothing heavy; a cold disk may be slow
_SAY_PERIOD_S = 15.0
_PORT_MAX = 65_535
_LOG_TAIL = 1 << 16  # bytes of the log that are looked at
_HEADERS = {"Content-Type": "application/json"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a script says that it would do, and for how long to wait."""

    script: dict[str, Any]
    ready_timeout_ns: int

    @property
    def name(self) -> str:
        """`vLLM 0.26.0`."""
        return f"{self.script['name']} {self.script['version']}".strip()

    @property
    def command(self) -> list[str]:
        command: list[str] = self.script["command"]
        return command

    @property
    def about(self) -> dict[str, Any]:
        """For the report: who it is, what it was told."""
        kept = ("engine", "version", "torch", "model", "folder", "device", "max_num_seqs", "max_model_len")
        about = {key: self.script[key] for key in kept if self.script.get(key)}
        return about | {"name": self.script["name"], "command": shlex.join(self.command)}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInputError(f"--engine: {message}.")


def plan_engine(engine: str, arguments: list[str], *, port: int = 0, say: Say = lambda _: None) -> Plan:
    """Ask the script of an engine of the catalog how it would start. `port` 0 is a free one, unless told otherwise.

    Our own words here are --python (which interpreter has the engine) and --ready-timeout. Raises BadInputError for
    what the script refuses, EngineError when it cannot be run.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--ready-timeout", default="600s")
    parser.add_argument("--model")
    parser.add_argument("--port")
    ours, rest = parser.parse_known_args(arguments)
    asked, (engine, implied) = engine, find_engine(engine)
    timeout_ns = parse_duration_ns(ours.ready_timeout)
    if ours.model is None:
        model = cached_tiny(gguf=engine == "llama_cpp")
        say(f"No --model for {asked}: a generated one with 5 M random parameters, {model}.")
        ours.model = str(model)
        rest += [] if "--served-model-name" in rest else ["--served-model-name", "tiny"]
    if not (ours.port or str(port)).isdecimal() or int(ours.port or port) > _PORT_MAX:
        raise BadInputError(f"'{ours.port}' is not a port.", "Write a number, or 0 for a free one.")
    chosen = int(ours.port or port) or _free_port()
    command = [ours.python, str(script_of(engine)), "--plan", "--model", ours.model, "--port", str(chosen)]
    return Plan(_ask_script(engine, [*command, *implied, *rest]), timeout_ns)


def _ask_script(engine: str, command: list[str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_PLAN_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise EngineError(
            f"Cannot run {command[0]}: {'it is a folder' if Path(command[0]).is_dir() else error.strerror}.",
            "--python wants the Python of the engine's environment, its bin/python.",
        ) from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"The script of {engine} does not answer.", f"By hand: {shlex.join(command)}") from None
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    try:
        plan: dict[str, Any] = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    except (IndexError, msgspec.DecodeError):
        raise BadInputError(f"{engine}: {words[-1] if words else 'its script says nothing'}.") from None
    if "error" in plan:
        raise EngineError(plan["error"], plan["hint"])
    return plan


def launch_engine(plan: Plan, log: Path, say: Say = lambda _: None) -> Launched:
    """Start it and wait for its first token. Raises EngineError with its last words; nothing stays behind."""
    host, port = plan.script["host"], plan.script["port"]
    _check_port(host, port, plan.name)
    for warning in plan.script["warnings"]:
        say(f"Warning: {warning}")
    say(f"Starting {plan.name}: {shlex.join(plan.command)}")
    guard = [sys.executable, guard_script, *plan.command]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a name to look up)
    with log.open("ab") as sink:
        process = subprocess.Popen(
            guard, stdin=subprocess.PIPE, stdout=sink, stderr=sink, start_new_session=True, env=_environment(plan)
        )
    asker = Asker(Target("http", reachable, port, ""), _HEADERS)
    launched = Launched(process, asker.target.root, plan.about)
    try:
        launched.about["ready_s"] = round(_await_ready(launched, plan, asker, log, say), 1)
    except BaseException:
        launched.stop()
        raise
    say(f"{plan.name} is ready after {launched.about['ready_s']:g} s.")
    return launched


def _environment(plan: Plan) -> dict[str, str]:
    # What a script wants is a default: whoever has set a variable meant it.
    wanted: dict[str, str] = plan.script["env"]
    path = os.pathsep.join(filter(None, [plan.script.get("path"), os.environ.get("PATH", os.defpath)]))
    return wanted | {"PYTHONUNBUFFERED": "1"} | dict(os.environ) | {"PATH": path}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _check_port(host: str, port: int, name: str) -> None:
    """Better said now than found out after a minute of loading."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        # socket's own text repeats the address; an unknown host's number is none of the system's
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
        raise EngineError(
            f"{name} cannot have port {port} on {host}: {reason.lower()}.",
            "Choose another --port, or leave it out for a free one.",
        ) from None


def _await_ready(launched: Launched, plan: Plan, asker: Asker, log: Path, say: Say) -> float:
    """Seconds until the first token."""
    began, said = time.monotonic(), time.monotonic()
    deadline = began + plan.ready_timeout_ns / NS_PER_S
    pause_s = 0.05
    while True:
        code = launched.process.poll()
        if code is not None:
            raise _died(plan, code, log)
        if time.monotonic() > deadline:
            lines = last_lines(_tail(log)) or "    (it has said nothing)"
            waited = f"{plan.ready_timeout_ns / NS_PER_S:g} s"
            raise EngineError(
                f"{plan.name} was not ready after {waited}.",
                f"Give it longer with --ready-timeout. Its last lines:\n{lines}",
            )
        if _is_healthy(asker, plan.script["ready"]):
            _first_token(asker, plan, launched, log, deadline)
            return time.monotonic() - began
        if time.monotonic() - said > _SAY_PERIOD_S:
            said = time.monotonic()
            lines_now = [line for line in _tail(log) if line.strip()]
            say(f"  {said - began:.0f} s … {lines_now[-1].strip()[:150] if lines_now else 'nothing said yet'}")
        time.sleep(pause_s)
        pause_s = min(0.5, pause_s * 1.2)


def _is_healthy(asker: Asker, path: str) -> bool:
    try:
        return asker.ask(path, timeout_s=5.0)[0] == 200
    except TargetError:
        return False


def _first_token(asker: Asker, plan: Plan, launched: Launched, log: Path, deadline: float) -> None:
    """One token through and through: kernels are compiled, memory is taken; what cannot work has failed by now."""
    status, body = 0, b""
    for path, asked in (
        (PATHS["completions"], {"prompt": "one two three"}),
        (PATHS["chat"], {"messages": [{"role": "user", "content": "one two three"}]}),
    ):
        request = msgspec.json.encode({"model": plan.script["model"], "max_tokens": 1} | asked)
        try:
            status, body = asker.ask(path, request, timeout_s=max(1.0, deadline - time.monotonic()))
        except TargetError as error:
            try:
                code = launched.process.wait(2.0)
            except subprocess.TimeoutExpired:
                raise EngineError(f"{plan.name} is up, but gives no first token: {error}", error.hint) from None
            raise _died(plan, code, log) from None
        if status == 200:
            return
    told, hint = explain([failure_text(body)], 0)
    raise EngineError(
        f"{plan.name} is up, but refuses its first request (HTTP {status}): {told.rstrip('.')}.",
        f"{hint or 'Its last lines:'}\n{last_lines(_tail(log))}",
    )


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL))
        return file.read().decode("utf-8", "replace").splitlines()


def _died(plan: Plan, code: int, log: Path) -> EngineError:
    lines = _tail(log)
    told, hint = explain(lines, code)
    signalled = -code if code < 0 else max(0, code - 128)
    ended = f"was killed while it was loading (signal {signalled})"
    if not signalled:
        ended = f"ended while it was loading (exit code {code})"
    sentence = f"{plan.name} {ended}{f': {told}' if told else ''}"
    return EngineError(
        sentence if sentence.endswith(".") else sentence + ".", f"{hint or 'Its last lines:'}\n{last_lines(lines)}"
    )
