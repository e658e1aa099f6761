"""`loadgen report FOLDER`: rebuild summary, report and Parquet of a run or sweep from its records."""

import json
from pathlib import Path

from loadgen.cli.flags import Parser
from loadgen.errors import ExitCode
from loadgen.records import folder as run_folder


def report(arguments: list[str]) -> int:
    """Works on a run that was cut, and says that it was."""
    parser = Parser(prog="loadgen report", description="Rebuild the reports of a run or sweep from its records.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a run or of a sweep")
    parser.add_argument("--json", action="store_true", help="the summary on stdout, nothing else")
    options = parser.parse_args(arguments)

    from rich.console import Console

    from loadgen.report.text import render_final
    from loadgen.sweep import rewrite

    summary = rewrite(options.folder)
    if options.json:
        print(json.dumps(summary))
    else:
        render_final(summary, Console(highlight=False), str(options.folder / run_folder.REPORT))
    return ExitCode.OK
