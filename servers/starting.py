"""What the scripts beside this share: read the words, check versions, spell the engine's command, become the engine.

`--plan` prints the command as JSON and starts nothing: that is how `loadgen serve ENGINE` reads a script. Never imports
the engine: its version is read from the package's metadata, so a plan costs a tenth of a second.
"""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass, field

from words import FLAGS, SWITCHES, WORDS


class Refusal(Exception):
    """Why the engine cannot be started: a sentence, and what to try."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint


@dataclass
class Start:
    """How an engine is started. A script fills one in."""

    name: str  # as people write it
    column: str  # of FLAGS
    command: list[str]  # before the flags
    packages: tuple[str, ...] = ()  # the first one that is installed has the version
    versions: tuple[str, str] = ("0", "")  # the flags are those of this version … and of this one
    install: str = ""
    always: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    ready: str = "/health"  # answers 200 when the model is loaded
    max_num_seqs: int | None = None  # what it does when nobody says: the cap is told, or known
    model_is_path: bool = False  # requests must name the text given as model
    slots: int = 1  # llama.cpp's context is the sum over its slots
    config: dict = field(default_factory=dict)  # of its configuration file, where it has one
    warnings: list[str] = field(default_factory=list)
    version: str = ""


def read_words(about: str, name: str, extra=()) -> tuple[argparse.Namespace, list[str]]:
    """(our words, everything else: the engine's own flags). `extra`: (flag, keywords) of this engine's own choices."""
    parser = argparse.ArgumentParser(
        prog=f"servers/{name}.py",
        description=about,
        epilog="Any other option goes to the engine as it is. --plan prints the command and starts nothing.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for word, (flag, metavar, meaning) in WORDS.items():
        if metavar is not None:
            parser.add_argument(flag, dest=word, metavar=metavar, help=meaning)
        elif word in SWITCHES:
            parser.add_argument(flag, dest=word, action="store_true", default=None, help=meaning)
            parser.add_argument(flag.replace("--", "--no-", 1), dest=word, action="store_false", help=argparse.SUPPRESS)
        else:
            parser.add_argument(flag, dest=word, action="store_true", default=None, help=meaning)
    for flag, keywords in extra:
        parser.add_argument(flag, **keywords)
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)
    words, rest = parser.parse_known_args()
    words.device = words.device or ("cuda" if shutil.which("nvidia-smi") else "cpu")
    words.host, words.port = words.host or "127.0.0.1", words.port or "8000"
    return words, [each for each in rest if each != "--"]


def installed(packages) -> str:
    """The version of the first of these packages that is there; "" when none is."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return ""


def console_script(package: str, script: str) -> list[str]:
    """A package's command, started by this interpreter: its folder of scripts need not be on the PATH."""
    try:
        entries = metadata.distribution(package).entry_points
    except metadata.PackageNotFoundError:
        return [script]
    for entry in entries:
        if entry.group == "console_scripts" and entry.name == script:
            module, _, function = entry.value.partition(":")
            line = f"import sys; from {module} import {function} as main; sys.argv[0] = {script!r}; sys.exit(main())"
            return [sys.executable, "-c", line]
    return [script]


def need_folder(model: str, *, weights: bool) -> None:
    """A path must be a model's folder; a name without a slash in front is left to the engine (a hub's name)."""
    if not (model.startswith((".", "/", "~")) or os.path.exists(model)):
        return
    if not os.path.isfile(os.path.join(model, "config.json")):
        what = "is a file, not a model's folder" if os.path.isfile(model) else "does not exist"
        what = "is not a model's folder: it has no config.json" if os.path.isdir(model) else what
        raise Refusal(f"{model} {what}.", "Give the folder that holds config.json, tokenizer and weights.")
    held = os.listdir(model)
    if weights and not any(each.endswith((".safetensors", ".bin", ".pt")) for each in held):
        raise Refusal(f"{model} has no weights.", "Add them; vLLM, SGLang and TensorRT-LLM also take --dummy-weights.")


def context_of(model: str) -> int | None:
    """max_position_embeddings of a local model."""
    try:
        with open(os.path.join(model, "config.json")) as file:
            found = json.load(file).get("max_position_embeddings")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, int) else None


def start(fill_in, words: argparse.Namespace, rest: list[str]) -> None:
    """Print the plan, or become the engine. `fill_in()` makes the Start; it may raise Refusal."""
    try:
        if words.model is None:
            raise Refusal("There is no --model.", "Give a model's folder; `loadgen model tiny DIR` writes a small one.")
        plan = _plan(fill_in(), words, rest)
    except Refusal as refusal:
        if words.plan:
            print(json.dumps({"error": str(refusal), "hint": refusal.hint}))
        else:
            print(f"{refusal}\n  {refusal.hint}", file=sys.stderr)
        sys.exit(2)
    if words.plan:
        print(json.dumps(plan))
        return
    for warning in plan["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    print(shlex.join(plan["command"]), file=sys.stderr, flush=True)
    path = os.pathsep.join([plan["path"], os.environ.get("PATH", os.defpath)])
    os.execvpe(plan["command"][0], plan["command"], {**plan["env"], **os.environ, "PATH": path})


def _plan(engine: Start, words: argparse.Namespace, rest: list[str]) -> dict:
    engine.version = engine.version or installed(engine.packages)
    if engine.packages and not engine.version:
        raise Refusal(
            f"{engine.name} is not installed in {sys.executable}.",
            f"Name the Python of the environment that has it: --python PATH. To install it: {engine.install}.",
        )
    warnings = engine.warnings + _misfits(engine)
    if words.max_num_seqs is None and engine.max_num_seqs and FLAGS[engine.column]["max_num_seqs"]:
        words.max_num_seqs = str(engine.max_num_seqs)
    flags = _spell(engine, words)
    if engine.model_is_path:
        served = words.model
    else:
        served = words.served_model_name or os.path.basename(words.model.rstrip("/"))
    caps = [engine.max_num_seqs] if not FLAGS[engine.column]["max_num_seqs"] else [int(words.max_num_seqs or 0)]
    length = int(words.max_model_len) if words.max_model_len else context_of(words.model)
    return {
        "engine": engine.column,
        "name": engine.name,
        "version": engine.version,
        "torch": installed(["torch"]),
        "command": [*engine.command, *flags, *engine.always, *rest],
        # A script's folder holds files named like the engines: python must not look there.
        "env": engine.env | {"PYTHONSAFEPATH": "1"},
        "path": os.path.dirname(sys.executable),  # of programs that the engine starts by name: deepspeed, ninja
        "ready": engine.ready,
        "host": words.host,
        "port": int(words.port),
        "model": served,
        "folder": os.path.abspath(words.model) if os.path.isdir(words.model) else None,
        "device": words.device,
        "max_num_seqs": caps[0] or None,
        "max_model_len": length,
        "warnings": warnings,
    }


def _spell(engine: Start, words: argparse.Namespace) -> list[str]:
    """Our words in the engine's flags; what has none there goes to its configuration file."""
    flags: list[str] = []
    for word in WORDS:
        value, spelled = getattr(words, word), FLAGS[engine.column][word]
        if word == "served_model_name" and value is None and spelled:
            value = os.path.basename(words.model.rstrip("/"))
        if value is None:
            continue
        if word in SWITCHES:
            spelled = spelled[0 if value else 1]
        if spelled is None:
            if word in ("served_model_name", "device"):
                continue
            flag = WORDS[word][0] if value is not False else WORDS[word][0].replace("--", "--no-", 1)
            raise Refusal(f"{engine.name} has nothing like {flag}.", "Leave it out; docs/engines.md has the table.")
        if spelled.startswith("config:"):
            path, _, setting = spelled.removeprefix("config:").format(value).partition("=")
            *above, last = path.split(".")
            place = engine.config
            for each in above:
                place = place.setdefault(each, {})
            place[last] = {"true": True, "false": False}.get(setting, setting)
        else:
            value = int(value) * engine.slots if word == "max_model_len" else value
            flags += [part.format(value) for part in spelled.split()]
    if engine.config:
        with tempfile.NamedTemporaryFile("w", prefix="loadgen-", suffix=".yaml", delete=False) as file:
            json.dump(engine.config, file)  # JSON is YAML
        flags += ["--config", file.name]
    return flags


def numbers(version: str) -> tuple[int, ...]:
    """`0.26.0rc1` → (0, 26, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _misfits(engine: Start) -> list[str]:
    """Sentences for a version that these flags were not seen with, and for a torch that it was not built for."""
    said = []
    low, high = engine.versions
    there = numbers(engine.version)
    if there and (there < numbers(low) or (high and there[:2] > numbers(high)[:2])):
        said.append(f"{engine.name} {engine.version} is installed; its flags are known from {low} to {high}.")
    for package in engine.packages:
        try:
            wanted = metadata.requires(package) or []
        except metadata.PackageNotFoundError:
            continue
        pinned = [re.match(r"torch *\(?== *([\w.]+)", each) for each in wanted]
        pin = next((match[1] for match in pinned if match), "")
        there = installed(["torch"])
        if pin and there and numbers(pin) != numbers(there):
            said.append(f"{engine.name} {engine.version} was built for torch {pin}; {there} is installed.")
    return said
