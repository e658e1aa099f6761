"""Lengths asked and lengths obtained: whether the workload that was measured is the one that was meant."""

from collections import Counter
from typing import Any

import numpy as np

from loadgen.analysis.data import Columns
from loadgen.analysis.sample import Bools, Floats


def counted_by(columns: Columns) -> Any:
    """Who counted each answer; `asked` also where an answer that ended for its length had as many events as were asked
    for, which earlier versions wrote as `events`."""
    agrees = (columns["finish_reason"] == "length") & (columns["output_tokens"] == columns["planned_output_tokens"])
    return np.where(agrees & (columns["token_source"] == "events"), "asked", columns["token_source"])


def token_source(sources: Any) -> str | None:
    """Who counted the output tokens: the one source, "mixed" for several, None when nothing was answered."""
    found = set(sources) - {""}
    return "mixed" if len(found) > 1 else next(iter(found), None)


def lengths_section(columns: Columns, rows: Bools) -> dict[str, Any]:
    """point["lengths"] of the requests `rows`; shares are of the requests where both numbers are known."""
    events = int(columns["token_events"][rows].sum())
    empty = int(np.nansum(columns["empty_events"][rows]))
    section: dict[str, Any] = {}
    for side in ("input", "output"):
        asked, obtained = columns[f"planned_{side}_tokens"][rows], columns[f"{side}_tokens"][rows]
        both = ~np.isnan(asked) & ~np.isnan(obtained) & (asked > 0)
        planned = columns[f"planned_{side}_tokens"]
        section[f"{side}_planned_mean"] = _mean(planned[~np.isnan(planned)])  # of all, however they ended
        section[f"{side}_asked_mean"] = _mean(asked[both])
        section[f"{side}_obtained_mean"] = _mean(obtained[both])
        section[f"{side}_mismatch_share"] = _mean((asked != obtained)[both].astype(np.float64))
    sources = counted_by(columns)
    streamed_as_asked = rows & (sources == "asked") & (columns["token_events"] > 0)
    as_asked = float(columns["output_tokens"][streamed_as_asked].sum())
    unseen = as_asked - float(columns["token_events"][streamed_as_asked].sum())
    return section | {
        "token_sources": dict(Counter(sources[rows].tolist())),  # who counted → how many requests
        "asked_unseen_share": unseen / as_asked if as_asked else None,  # of those tokens: without an event of their own
        "empty_events": empty,
        "empty_share": empty / events if events else None,
        "multi_token_share": float(np.nansum(columns["multi_token_events"][rows])) / events if events else None,
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
