"""Azure's public inference traces of 2023, 2024 and 2025: a CSV of time, prompt and answer tokens, no more.

2023 writes seven decimals and no zone, CRLF; 2024 +00:00 and no fraction where it is zero; 2025 T…Z and the images.
"""

import numpy as np

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import Head, read_csv
from loadgen.trace.table import Survey, Trace

_COLUMNS = b"TIMESTAMP,ContextTokens,GeneratedTokens"
_COLUMNS_2025 = b"TIMESTAMP,NumImages,ContextTokens,GeneratedTokens"


def matches(head: Head) -> bool:
    return head.line in (_COLUMNS, _COLUMNS_2025)


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every row is kept. Raises BadInputError with the line."""
    table = read_csv(head.path, head.line.decode().split(","))
    n = len(table)
    zoned = bool(n) and str(table.texts("TIMESTAMP")[0]).endswith(("Z", "+00:00"))
    survey.format = f"Azure {2025 if head.line == _COLUMNS_2025 else 2024 if zoned else 2023}"
    survey.rows_read = n
    draft = Draft(
        at_ns=table.stamps("TIMESTAMP"),
        row=np.arange(2, n + 2),
        input_tokens=table.whole("ContextTokens"),
        output_tokens=table.whole("GeneratedTokens"),
        absolute=True,
        zone="Z" if zoned else "",
    )
    if head.line == _COLUMNS_2025:
        images = table.whole("NumImages")
        if images.any():
            survey.oddities.append(
                f"Images, which a replay does not send: {images.sum():,}, in {np.count_nonzero(images) / n:.1%} of the "
                "requests; whether the prompt's tokens count them the source does not say."
            )
    return assemble(draft, survey, choices)
