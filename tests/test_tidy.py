"""Style as a test: floors and import arrows, names, sizes, docstrings, import cost, and what no file may hold.

The floors are read from the drawing in ARCHITECTURE.md, so that drawing and code cannot part.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from loadgen.config import LOADS, options_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "loadgen"
LINES_MAX = 400
OPTIONS_MAX = 31  # docs/design/007-options.md
BANNED = {
    *("manager", "handler", "helper", "helpers", "processor", "service", "util", "utils"),
    *("common", "core", "misc", "context", "mixin"),
}
OPTIONAL = {"torch", "triton", "tokenizers", "xllamacpp", "gguf", "ray", "openai", "uvloop"}  # extras of ours


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(module: str) -> str:
    """The entry of the floors that a module belongs to: its folder, with a slash, or its own name."""
    name = module.split(".")[1]
    return f"{name}/" if (PACKAGE / name).is_dir() else name


def floors() -> dict[str, int]:
    """Room → floor, from the drawing: a number, rooms with single spaces between, two spaces, what it is."""
    section = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Floors")[1].split("```")[1]
    found: dict[str, int] = {}
    for line in section.strip().splitlines():
        number, rooms = re.match(r" *(\d+) +(\S+(?: \S+)*)  ", line).groups()  # type: ignore[union-attr]
        for each in rooms.split():
            assert each not in found, f"{each} is on two floors"
            found[each] = int(number)
    return found


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("loadgen."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by dots"
            if node.module == "loadgen":
                yield from (name for name in (f"loadgen.{alias.name}" for alias in node.names) if name in modules())
            elif (node.module or "").startswith("loadgen."):
                yield str(node.module)


def test_every_file_stands_on_a_floor_and_every_floor_has_files() -> None:
    assert {room(name) for name in modules() if "." in name} == set(floors())


def test_arrows_point_down() -> None:
    floor = floors()
    wrong = [
        f"{path.relative_to(ROOT)} (floor {floor[room(name)]}) imports {other} (floor {floor[room(other)]})"
        for name, path in modules().items()
        if "." in name
        for other in imported(path)
        if room(other) != room(name) and floor[room(other)] >= floor[room(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_folder_is_a_package() -> None:
    """A folder without __init__.py would be left out of the wheel."""
    assert not [path.parent for path in modules().values() if not (path.parent / "__init__.py").exists()]


def tracked(*suffixes: str) -> list[Path]:
    """The files that git knows, by suffix; all of them without one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def test_every_file_begins_with_what_it_is_for() -> None:
    """An empty __init__.py has nothing to say."""
    silent = [
        path.relative_to(ROOT)
        for path in tracked(".py")
        if not (ast.get_docstring(tree(path)) or "").strip()
        and not (path.name == "__init__.py" and not path.read_text().strip())
    ]
    assert not silent


def test_no_file_is_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in modules().values()}
    assert not {str(path): lines for path, lines in lengths.items() if lines > LINES_MAX}


def words_of(name: str) -> set[str]:
    """`HttpHandler`, `http_handler` → {http, handler}."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_names_say_something() -> None:
    named = [(path.stem, path) for path in modules().values()]
    named += [(path.parent.name, path) for path in modules().values()]
    for path in modules().values():
        named += [(node.name, path) for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert not [f"{path.relative_to(ROOT)}: {name}" for name, path in named if words_of(name) & BANNED]


def test_tests_do_not_sleep() -> None:
    """Time in a test is virtual, or waited for; only truth is measured in real time."""
    sleepers = []
    for path in tracked(".py"):
        text = path.read_text(encoding="utf-8")
        if path.is_relative_to(ROOT / "tests") and path != Path(__file__) and "time.sleep(" in text:
            sleepers += [path.relative_to(ROOT)] if "pytest.mark.truth" not in text else []
    assert not sleepers


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported_first() -> None:
    """Each with no other module of ours loaded before it: circles and forgotten imports show here."""
    code = f"""
import importlib, sys
for name in {list(modules())!r}:
    for loaded in [each for each in sys.modules if each.split(".")[0] == "loadgen"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] not in {OPTIONAL!r}:
            raise
"""
    run_python(code)


@pytest.mark.parametrize(
    ("module", "kept_out"),
    [
        ("loadgen.cli.main", {"numpy", "pyarrow", "rich", "aiohttp", "msgspec", "asyncio"}),
        ("loadgen.workers.worker", {"numpy", "pyarrow", "rich", "aiohttp", "hdrh"}),
        ("loadgen.simulator.server", {"pyarrow", "rich"}),
    ],
)
def test_an_import_costs_no_more_than_it_must(module: str, kept_out: set[str]) -> None:
    loaded = run_python(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    assert not kept_out & set(json.loads(loaded))


@pytest.mark.parametrize("command", sorted(LOADS))
def test_a_command_has_few_options(command: str) -> None:
    assert len(options_of(command)) <= OPTIONS_MAX


SECRETS = {
    "a path of somebody's machine": r"(?<![\w./])/(?:root|home|Users|work)/\w",
    "a package index": r"--(?:extra-)?index-url|--find-links|PIP_(?:EXTRA_)?INDEX|https?://[^\s/]*(?:artifactory|nexus)",
    "an API key": r"\b(?:sk-|hf_|ghp_|github_pat_|xox[bp]-)[A-Za-z0-9_]{20,}|\bAKIA[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20,}",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_file_holds(kind: str) -> None:
    pattern = re.compile(SECRETS[kind])
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found


def test_the_patterns_find_what_they_look_for() -> None:
    """Each of them, so that a search that finds nothing means something."""
    examples = ("see /home/ann/x", "pip install --extra-index-url u", "sk-" + "a" * 24, "")
    examples = (*examples[:3], "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 30)
    assert all(re.search(pattern, text) for pattern, text in zip(SECRETS.values(), examples, strict=True))
    assert words_of("HTTPHandler") & BANNED
    assert words_of("run_context") & BANNED
