"""`loadgen replay TRACE`: a production trace against a server, as it was recorded."""

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from loadgen.cli.flags import parser_of
from loadgen.cli.load import exit_code
from loadgen.config import REPLAY, make_settings
from loadgen.records import folder as run_folder

ABOUT = (
    "Replay a production trace: its arrivals, lengths, sessions and shared prefixes. Without --base-url an embedded "
    "simulator is started, used and stopped."
)


def replay_parser() -> Any:
    """The options of the command."""
    parser = parser_of(REPLAY, ABOUT)
    parser.add_argument("trace", type=Path, metavar="TRACE", help="file or folder; `loadgen trace inspect` looks at it")
    return parser


def replay(arguments: list[str]) -> int:
    """Exit code 3 when the replay was not valid, as of a run."""
    given = {key: value for key, value in vars(replay_parser().parse_args(arguments)).items() if value is not None}
    path, config = given.pop("trace"), given.pop("config", None)
    settings = make_settings(REPLAY, given, config)
    settings.warmup = "none"  # every request of a trace counts
    folder = settings.out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-replay-{path.stem}"
    if folder.exists():
        run_folder.create(folder)  # says that it exists, before anything is started

    from rich.console import Console

    from loadgen.cli.screen import screen
    from loadgen.prepare import setting_up
    from loadgen.replay import replay as replay_trace
    from loadgen.replay import shaped
    from loadgen.report.live import choose_view
    from loadgen.report.text import render_final
    from loadgen.trace.load import load_trace

    err = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        if not (settings.quiet or settings.json):
            err.print(text, markup=False, soft_wrap=True)

    trace = shaped(load_trace(path), settings)
    gc.freeze()  # what is here by now stays; the decoding beside the load should not be stopped to look at it
    gc.set_threshold(2_000, 10, 100)  # young ones are looked at in 50 µs; a histogram leaves cycles of 100 kB a second
    with setting_up(settings, folder, say) as setup, choose_view(sys.stdout, settings.quiet, settings.json) as view:
        replay_trace(setup, folder, trace, say=say, observer=view)
    summary = run_folder.read_json(folder / run_folder.SUMMARY)
    if settings.json:
        print(json.dumps(summary))
    else:
        render_final(summary, screen(), str(folder / run_folder.REPORT))
    return exit_code(summary, settings)
