"""BurstGPT 1, 2 and 3: a CSV of seconds from midnight of the first day, model, lengths; the third knows sessions too.

An answer of 0 tokens is a failure, and stays in. Columns are found by name: the third has some in between.
"""

import numpy as np

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import Head, read_csv
from loadgen.trace.table import UNKNOWN, Survey, Trace

_NEEDED = ("Timestamp", "Model", "Request tokens", "Response tokens")
_SESSIONS = ("Session ID", "Elapsed time")


def matches(head: Head) -> bool:
    return set(_NEEDED) <= set(head.line.decode(errors="replace").split(","))


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every row is kept. Raises BadInputError with the line."""
    names = head.line.decode(errors="replace").split(",")
    third = set(_SESSIONS) <= set(names)
    survey.format = "BurstGPT 3" if third else "BurstGPT 1 or 2"
    table = read_csv(head.path, [*_NEEDED, *(_SESSIONS if third else ())])
    n = survey.rows_read = len(table)
    draft = Draft(
        at_ns=table.seconds("Timestamp"),
        row=np.arange(2, n + 2),
        input_tokens=table.whole("Request tokens"),
        output_tokens=table.whole("Response tokens"),
        session=table.texts("Session ID") if third else None,
        model=table.texts("Model"),
        duration_ns=np.maximum(table.seconds("Elapsed time"), UNKNOWN) if third else None,
    )
    return assemble(draft, survey, choices)
