"""The documents say what the code does. Run as a script, this writes docs/cli.md again (`make docs`)."""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import pytest

from loadgen.cli.flags import parser_of
from loadgen.cli.main import COMMANDS, help_text
from loadgen.config import RUN, SATURATE, SWEEP, make_settings, options_of
from loadgen.endpoints.dialects import DIALECTS
from loadgen.records.schema import RECORD, TELEMETRY

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("traces/*.md")])
CLI = ROOT / "docs" / "cli.md"
LOADS = {SWEEP: "one run per request rate", SATURATE: "search for the saturation point", RUN: "one run"}


def cli_page() -> str:
    """docs/cli.md, made from the tables and the parsers."""
    parts = [
        "# Commands\n",
        "Written by `make docs`. Flags are stronger than a TOML file given with `--config`, whose keys are the flags'",
        "names with underscores.\n",
    ]
    parts.append(f"```\n{help_text()}\n```\n")
    for command, about in LOADS.items():
        parts.append(f"## loadgen {command}: {about}\n\n| option | group | meaning |\n|---|---|---|")
        for option in options_of(command):
            value = "" if option.parse is None else f" {option.metavar or option.key.upper()}"
            meaning = option.help.replace("|", "\\|")
            parts.append(f"| `{option.flag}{value}` | {option.group} | {meaning} |")
        parts.append("")
    parts.append("## loadgen roofline: what a GPU could do at most\n\nSee [roofline.md](roofline.md).\n")
    parts.append("## loadgen profile: the same operations timed on a GPU\n\nSee [profile.md](profile.md).\n")
    parts.append("## loadgen serve simulator\n\n`loadgen serve simulator --help` lists its options.\n")
    parts.append("## loadgen report FOLDER\n\nRebuilds summary, report and Parquet; `--json` prints the summary.\n")
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
        if command in LOADS:
            given = vars(parser_of(command, "").parse_args(arguments))
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
