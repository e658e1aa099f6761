"""point["decoding"]: what the server decoded in the window: how many sequences at once, over what context, how fast.

Of every request that streamed there, however it ended: those that ended well are the short ones when a run is cut, and
those that began in the window still wait when the server is full. How many tokens came is counted; which context each
had is taken from its request's span, tokens evenly spaced in it, which needs no list of tokens.
"""

from typing import Any

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.rates import input_tokens
from loadgen.analysis.window import Window
from loadgen.units import NS_PER_MS


def decoding_section(run: RunData, window: Window) -> dict[str, float | None] | None:
    """None where nobody saw a token after a first one.

    sequences_mean      between their first and their last token, averaged over time
    context_mean        tokens that a sequence attends to, averaged over the tokens decoded
    token_ms            from one token of a sequence to its next: Σ time / Σ tokens; None when none came
    prompts_per_s       answers that began
    prompt_tokens_mean  of those; None when none did
    """
    columns, prompt_tokens = run.columns, input_tokens(run)
    first_ns, last_ns = columns["first_token_ns"], columns["last_token_ns"]
    steps = np.nan_to_num(columns["output_tokens"]) - 1  # the first token is the prompt's
    rows = (last_ns > first_ns) & (steps > 0) & (first_ns < window.end_ns) & (last_ns > window.start_ns)
    if not rows.any() or window.duration_s <= 0:
        return None
    first_ns, last_ns, steps = first_ns[rows], last_ns[rows], steps[rows]
    begin_ns, end_ns = np.maximum(first_ns, window.start_ns), np.minimum(last_ns, window.end_ns)
    inside_ns, whole_ns = end_ns - begin_ns, last_ns - first_ns
    tokens = steps * inside_ns / whole_ns
    # A sequence's k-th step attends to its prompt and k tokens more; half a step before the k-th token is the mean.
    reached = 0.5 + steps * ((begin_ns + end_ns) / 2 - first_ns) / whole_ns
    began = (columns["first_token_ns"] > window.start_ns) & (columns["first_token_ns"] <= window.end_ns)
    decoded = float(run.tokens.between(window.edges_ns(1)).sum()) - float(began.sum())
    return {
        "sequences_mean": float(inside_ns.sum()) / (window.end_ns - window.start_ns),
        "context_mean": float((tokens * (prompt_tokens[rows] + reached)).sum() / tokens.sum()),
        "token_ms": float(inside_ns.sum()) / decoded / NS_PER_MS if decoded > 0 else None,
        "prompts_per_s": int(began.sum()) / window.duration_s,
        "prompt_tokens_mean": float(prompt_tokens[began].mean()) if began.any() else None,
    }


def token_ms(point: dict[str, Any]) -> float | None:
    """From one token of a sequence to its next: of all that was decoded, else of the answers that ended well."""
    seen = (point.get("decoding") or {}).get("token_ms")
    return point.get("mean_tpot_ms") if seen is None else seen


def decoding_at_once(point: dict[str, Any]) -> float | None:
    """Sequences, as seen from outside; where answers do not stream, output tokens/s · TPOT (Little's law): what else is
    in flight waits for its turn."""
    seen = (point.get("decoding") or {}).get("sequences_mean")
    tokens_per_s, ms = point.get("output_throughput"), token_ms(point)
    return seen or (None if tokens_per_s is None or ms is None else tokens_per_s * ms / 1000)
