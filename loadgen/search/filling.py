"""When an overloaded server shows the speed that it keeps: not while its batch fills, nor just after.

A batch that fills at once ends at once too: until those that filled it are gone no answer ends, so that no step goes to
a prompt, and then all end together. With the timing of engines on an H200 that is up to 8 % more than what stays. Apart
from the judgement, which knows nothing of batches; where answers come in one piece nothing is said of one here either.
"""

import numpy as np

from loadgen.analysis.observed import Observed

MOMENTS = 64
FULL = 0.95  # of what decodes in the second half of the time


def renewed_ns(seen: Observed) -> float:
    """When a batch that fills was full, and those that filled it have ended: until then none, or all, end at once."""
    begun = ~np.isnan(seen.first_ns) & ~seen.failed
    done = begun & seen.done
    tokens = seen.output_tokens[done].sum()
    if not tokens:
        return 0.0
    at_ns = np.linspace(0, seen.until_ns, MOMENTS + 1)
    began = np.searchsorted(np.sort(seen.first_ns[begun]), at_ns, side="right")
    ended = np.searchsorted(np.sort(seen.last_ns[done]), at_ns, side="right")
    busy = began - ended
    full_ns = at_ns[int(np.argmax(busy >= FULL * busy[MOMENTS // 2 :].mean()))]
    # in a batch long answers are met more often than they come
    met = float((seen.output_tokens**2).sum() / seen.output_tokens.sum())
    return float(full_ns + met * (seen.last_ns - seen.first_ns)[done].sum() / tokens)
