"""The documents say what the code does. Run as a script, this writes docs/cli.md again (`make docs`)."""

import argparse
import contextlib
import importlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.cli.flags import parser_of
from loadgen.cli.main import COMMANDS, help_text
from loadgen.config import LOADS, make_settings, options_of
from loadgen.endpoints.dialects import DIALECTS
from loadgen.records.schema import RECORD, TELEMETRY
from loadgen.simulator.options import simulator_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("traces/*.md"), *ROOT.glob("examples/*.md")])
CLI = ROOT / "docs" / "cli.md"
Rows = Iterator[tuple[str, str, str]]


def rows_of_table(command: str) -> Rows:
    """(option with its value, group, meaning) of a command that puts load on a server."""
    for option in options_of(command):
        value = "" if option.parse is None else f" {option.metavar or option.key.upper()}"
        yield option.flag + value, option.group, option.help


def rows_of_parser(parser: argparse.ArgumentParser) -> Rows:
    """The same of a parser; a group that argparse made by itself has no name."""
    names = {id(action): group.title or "" for group in parser._action_groups for action in group._group_actions}
    for action in parser._actions:
        if action.dest == "help":
            continue
        formatter = parser._get_formatter()
        value = "" if action.nargs == 0 else formatter._format_args(action, action.dest.upper())
        words = f"{action.option_strings[-1]} {value}".strip() if action.option_strings else value
        group = names.get(id(action), "")
        about = formatter._expand_help(action) if action.help else ""
        yield words, "" if group in ("positional arguments", "options") else group, about


def table(rows: Rows) -> str:
    """Markdown; the groups' column only where there are groups."""
    listed = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    grouped = any(group for _, group, _ in listed)
    lines = ["| option | group | meaning |\n|---|---|---|" if grouped else "| option | meaning |\n|---|---|"]
    lines += [f"| `{o}` | {group} | {about} |" if grouped else f"| `{o}` | {about} |" for o, group, about in listed]
    return "\n".join(lines) + "\n"


def parsers_for(command: str) -> dict[str, argparse.ArgumentParser]:
    """Parsers by action, "" for a command that is one action; empty for one that has only its own words.

    By convention a command `x` has an `x_parser()` beside it, or an `x_parsers()` by action; those that put load on a
    server share a table.
    """
    if command in LOADS:
        return {"": parser_of(command, "")}
    name, function, _ = COMMANDS[command]
    module = importlib.import_module(name)
    if hasattr(module, f"{function}_parsers"):
        return getattr(module, f"{function}_parsers")()  # type: ignore[no-any-return]
    return {"": getattr(module, f"{function}_parser")()} if hasattr(module, f"{function}_parser") else {}


def sections(command: str) -> Iterator[str]:
    """What docs/cli.md says of a command, and of those below it."""
    module, _, about = COMMANDS[command]
    yield f"## loadgen {command}\n\n{about[0].upper()}{about[1:]}.\n"
    if command in LOADS:
        yield table(rows_of_table(command))
        return
    parsers = parsers_for(command)
    if not parsers:  # it starts other programs: its own words, and what it passes on
        yield f"```\n{importlib.import_module(module).USAGE}\n```\n"
    for action, parser in parsers.items():
        title = f"### loadgen {command} {action}\n\n{parser.description}\n\n" if action else ""
        yield title + table(rows_of_parser(parser))


def cli_page() -> str:
    """docs/cli.md, made from the tables and the parsers."""
    parts = [
        "# Commands\n",
        "Written by `make docs`. Flags are stronger than a TOML file given with `--config`, whose keys are the flags'",
        "names with underscores.\n",
    ]
    parts.append(f"```\n{help_text()}\n```\n")
    for command in COMMANDS:
        parts += sections(command)
        if command == "serve":
            parts.append("Engines and their options: [engines.md](engines.md).\n")
            parts.append("### loadgen serve simulator\n\n[simulator.md](simulator.md) says what they do.\n")
            parts.append(table(rows_of_parser(simulator_parser())))
    parts.append(
        "## Exit codes\n\n| code | meaning |\n|---|---|\n"
        "| 0 | done, and every point is VALID; in a sweep a saturated point counts as an answer |\n"
        "| 1 | done, but the SLO is not met and `--fail-on slo` was given |\n"
        "| 2 | usage, bad input, a target that cannot be reached: one sentence and a hint on stderr |\n"
        "| 3 | done, but some point is not VALID |\n"
        "| 130 | interrupted: what was measured until then is on disk and reported |\n"
    )
    return "\n".join(parts)


def test_the_page_of_commands_is_up_to_date() -> None:
    assert cli_page() == CLI.read_text(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def commands_of(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```\w*\n(.*?)```", page.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("loadgen ")]


def test_the_commands_of_the_readme_parse() -> None:
    commands = commands_of(ROOT / "README.md")
    assert len(commands) >= 4
    for command, *arguments in commands:
        assert command in COMMANDS
        if command == "serve" and arguments[0] == "simulator":
            simulator_parser().parse_args(arguments[1:])
        parsers = parsers_for(command)
        parser = parsers.get("") or parsers.get(arguments[0] if arguments else "")
        if parser is None:
            continue
        given = vars(parser.parse_args(arguments if "" in parsers else arguments[1:]))
        if command in LOADS:
            make_settings(command, {k: v for k, v in given.items() if v is not None and k != "config"})


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"\bmake ([a-z]+)\b(?! itself)", page.read_text())) - {"git", "them"} <= targets


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"loadgen {command}" in text for command in COMMANDS)


def test_the_columns_are_described() -> None:
    text = (ROOT / "docs" / "run-folder.md").read_text()
    for name in (*RECORD.names, *TELEMETRY.names):
        assert f"`{name}`" in text, name


def test_the_dialects_are_described() -> None:
    text = (ROOT / "docs" / "engines.md").read_text()
    assert len(re.findall(r"^\| .*max_tokens", text, flags=re.MULTILINE)) == len(DIALECTS)


def test_the_drawing_names_what_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for folder in re.findall(r"^\| `(loadgen/\w+/)`", text, flags=re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
    packages = {path.parent.name for path in (ROOT / "loadgen").glob("*/__init__.py")}
    assert all(f"`loadgen/{package}/`" in text for package in packages)


def test_the_files_that_the_drawing_names_exist() -> None:
    names = {path.name for folder in ("loadgen", "tests", "docs", "traces") for path in (ROOT / folder).rglob("*")}
    for name in re.findall(r"`(?:[\w-]+/)*([\w-]+\.(?:py|md))`", (ROOT / "ARCHITECTURE.md").read_text()):
        assert name in names | {page.name for page in PAGES}, name


def test_one_word_per_thing() -> None:
    """Every word of the glossary is in use, and those that it forbids everywhere are in no page."""
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]*\| ([^|]*)\|$", (ROOT / "docs" / "glossary.md").read_text(), flags=re.MULTILINE
    )
    pages = {page: page.read_text() for page in PAGES if page.name not in ("glossary.md", "cli.md")}
    everything = "\n".join(pages.values()).lower()
    words = [word.strip() for row, _ in rows[2:] for word in re.split(r"[,;/]", row)]
    assert len(words) > 30
    assert not [word for word in words if word.lower().rstrip("s") not in everything]
    never = {word.strip() for _, row in rows[2:] for word in row.split(",")} & {"QPS", "SLA", "backend"}
    assert len(never) == 3
    ours = {
        page: re.sub(r"```.*?```", "", text, flags=re.DOTALL) for page, text in pages.items()
    }  # an engine's flags are not
    assert not [(page.name, word) for page, text in ours.items() for word in never if re.search(rf"\b{word}s?\b", text)]


def test_help_of_every_command_prints() -> None:
    from loadgen.cli.main import run_command

    for command in COMMANDS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            if command != "serve":
                run_command([command, "--help"])
        assert command == "serve" or f"loadgen {command}" in out.getvalue()


if __name__ == "__main__":
    CLI.write_text(cli_page())
    sys.stdout.write(f"{CLI.relative_to(ROOT)} written\n")
