"""`loadgen sweep --engine A --engine B …`: one engine after another, then what they say together."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadgen.config import Settings
from loadgen.errors import ExitCode
from loadgen.records import folder as run_folder

MeasureOne = Callable[[Settings, Path], dict[str, Any]]


def compare(settings: Settings, folder: Path, measure: MeasureOne, say: Callable[[str], None]) -> dict[str, Any]:
    """Run, print, and return the summary."""
    from loadgen.cli.screen import screen
    from loadgen.report.compare_screen import render_rows
    from loadgen.run import command_line
    from loadgen.side_by_side import side_by_side

    summary = side_by_side(settings, folder, measure, command=command_line(), say=say)
    if settings.json:
        json.dump(summary, sys.stdout)
        print()
    else:
        render_rows(summary, screen(), str(folder / run_folder.REPORT))
    return summary


def exit_code(summary: dict[str, Any], of_one: Callable[[dict[str, Any]], int]) -> int:
    """The worst of them: an engine that did not run makes the comparison not valid."""
    if summary["cut"]:
        return ExitCode.INTERRUPTED
    codes = [of_one(row) if row.get("points") else int(ExitCode.NOT_VALID) for row in summary["engines"]]
    return max(codes)
