"""`loadgen saturate`: search for the saturation point, or go on with a search; show what it says, set the exit code."""

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadgen.cli.flags import parser_of
from loadgen.config import OPTIONS, SATURATE, Settings, make_settings
from loadgen.errors import BadInputError, ExitCode
from loadgen.records import folder as run_folder

_ABOUT = (
    "Search for the request rate at which the server saturates: how much it holds, how much of that within the SLO, "
    "where latency begins to rise, and why; each with a 95 % confidence interval. Without --base-url an embedded "
    "simulator is started, used and stopped."
)


def saturate(arguments: list[str]) -> int:
    """`loadgen saturate`."""
    given = vars(parser_of(SATURATE, _ABOUT).parse_args(arguments))
    config = given.pop("config")
    given = {key: value for key, value in given.items() if value is not None}
    settings = _settings(given, config)
    folder = settings.resume or settings.out or _new_folder(settings)

    from rich.console import Console

    from loadgen.cli.screen import screen
    from loadgen.report.text import render_final

    quiet = settings.quiet or settings.json
    err = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        if not quiet:
            err.print(text, markup=False, soft_wrap=True)

    gc.freeze()  # what is imported by now stays; the decoding beside the load should not be stopped to look at it
    gc.set_threshold(50_000, 20, 100)
    if settings.engines:
        from loadgen.cli import side_by_side

        several = side_by_side.compare(settings, folder, lambda one, place: _search(one, place, say), say)
        return side_by_side.exit_code(several, exit_code)
    summary = _search(settings, folder, say)
    if settings.json:
        print(json.dumps(summary))
    else:
        render_final(summary, screen(), str(folder / run_folder.REPORT))
        if summary["cut"] and not settings.quiet:
            print(f"Go on with it: loadgen saturate --resume {folder}")
    return exit_code(summary)


def _search(settings: Settings, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One search against one server; the server is not asked when the search in `folder` has its answer."""
    from loadgen.prepare import setting_up
    from loadgen.report.live import choose_view
    from loadgen.saturate import conducting

    summary = conducting.concluded(settings, folder)
    if summary is not None:
        say(f"The search in {folder} has its answer: nothing is left to be measured.")
        return summary
    with setting_up(settings, folder, say) as setup, choose_view(sys.stdout, settings.quiet, settings.json) as view:
        return conducting.saturate(setup, folder, observer=view, point_done=view.point_done)


def _settings(given: dict[str, Any], config: Path | None) -> Settings:
    """As typed; for a search that is resumed, what was typed when it was begun, and what is typed now over it."""
    if "resume" in given:
        from loadgen.saturate.searched import settings_of

        if "out" in given:
            raise BadInputError("--resume and --out exclude each other.", "A search goes on in its own folder.")
        secret = {option.key for option in OPTIONS if option.secret}
        before = settings_of(Path(given["resume"]))
        given = {key: value for key, value in before.items() if key not in secret | {"out"}} | given
    settings = make_settings(SATURATE, given, config)
    if settings.out is not None and settings.out.exists():
        from loadgen.saturate.searched import is_unfinished

        if not is_unfinished(settings.out):
            run_folder.create(settings.out)  # says that it exists, before anything is started
    return settings


def _new_folder(settings: Settings) -> Path:
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{SATURATE}-{Path(settings.dataset).stem}"


def exit_code(summary: dict[str, Any]) -> int:
    """0 when the saturation point was found, with both ends of its interval (docs/cli.md)."""
    if summary.get("cut"):
        return ExitCode.INTERRUPTED
    rate = summary["saturation"]["max_stable_rate"]
    return ExitCode.OK if rate["low"] is not None and rate["high"] is not None else ExitCode.NOT_VALID
