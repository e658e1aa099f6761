"""Where the last screen goes. Apart from the commands so that a run and its report look the same."""

import sys

from rich.console import Console

PIPE_WIDTH = 140  # columns where nobody says how wide: the widest table fits


def screen() -> Console:
    """stdout as it is in a terminal, and wide enough for the table everywhere else."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_WIDTH)
