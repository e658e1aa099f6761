"""Length tables: CSV of prompt and answer tokens without any times. Looked at, not replayed: nothing says when."""

import numpy as np

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import Head, read_csv
from loadgen.trace.table import Survey, Trace

_PAIRS = (("num_prefill_tokens", "num_decode_tokens"), ("input_tokens", "output_tokens"))
NO_TIMES = "It has no times: all requests would arrive at once. It is a table of lengths, for --dataset."


def matches(head: Head) -> bool:
    return _pair(head) is not None


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every row is kept, all at time 0. Raises BadInputError with the line."""
    pair = _pair(head)
    assert pair is not None
    table = read_csv(head.path, pair)
    n = survey.rows_read = len(table)
    survey.oddities.append(NO_TIMES)
    zeros = np.zeros(n, np.int64)
    draft = Draft(zeros, np.arange(2, n + 2), table.whole(pair[0]), table.whole(pair[1]))
    return assemble(draft, survey, choices)


def _pair(head: Head) -> tuple[str, str] | None:
    names = head.line.decode(errors="replace").split(",")
    return next((pair for pair in _PAIRS if set(pair) <= set(names)), None)
