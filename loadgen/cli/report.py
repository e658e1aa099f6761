"""`loadgen report FOLDER`: rebuild summary, report and Parquet of a run, sweep, batch or search from its records."""

import json
from pathlib import Path
from typing import Any

from loadgen.cli.flags import Parser
from loadgen.errors import ExitCode
from loadgen.records import folder as run_folder


def report_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog="loadgen report", description="Rebuild the reports of a run, sweep, batch or search.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a run or of a sweep")
    parser.add_argument("--json", action="store_true", help="the summary on stdout, nothing else")
    return parser


def report(arguments: list[str]) -> int:
    """Works on a run that was cut, and says that it was."""
    options = report_parser().parse_args(arguments)

    from loadgen.batch import write_batch
    from loadgen.cli.screen import screen
    from loadgen.report.text import render_final
    from loadgen.saturate import searched
    from loadgen.side_by_side import is_side_by_side
    from loadgen.sweep import rewrite

    if is_side_by_side(options.folder):
        return _report_side_by_side(options.folder, as_json=options.json)
    if searched.is_search(options.folder):
        summary = searched.rewrite(options.folder)
    else:
        summary = rewrite(options.folder, {"batch": write_batch})
    if options.json:
        print(json.dumps(summary))
    else:
        render_final(summary, screen(), str(options.folder / run_folder.REPORT))
    return ExitCode.OK


def _report_side_by_side(folder: Path, *, as_json: bool) -> int:
    """Each engine's own reports, and the one page about them all."""
    from loadgen.batch import write_batch
    from loadgen.cli.screen import screen
    from loadgen.report.compare_screen import render_rows
    from loadgen.saturate import searched
    from loadgen.side_by_side import rewrite_side_by_side
    from loadgen.sweep import rewrite

    def again(place: Path) -> dict[str, Any]:
        return searched.rewrite(place) if searched.is_search(place) else rewrite(place, {"batch": write_batch})

    summary = rewrite_side_by_side(folder, again)
    if as_json:
        print(json.dumps(summary))
    else:
        render_rows(summary, screen(), str(folder / run_folder.REPORT))
    return ExitCode.OK
