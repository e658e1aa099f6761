"""Was a replay what the trace asked for, and how did the server fare over the trace's time: point["replay"].

Lateness is against the moment a request could go: its recorded time, or the end of what it follows.
"""

from typing import Any

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.flow import Flow
from loadgen.analysis.gauges import server_section
from loadgen.analysis.sample import Floats
from loadgen.exchange import Outcome
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration

LATE_MS_MAX = 5.0  # p99 of the lateness of a replay that may be called faithful
LATENESS_MS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, LATE_MS_MAX, 10.0, 20.0, 50.0, 100.0, 1000.0)  # upper ends; then more
LENGTH_SHARE_MAX = 0.01  # of the requests may have got another length than the trace's
MINUTES_MAX = 240
WORST = 5


def replay_section(run: RunData, flow: Flow, ttft_ns: Floats, point: dict[str, Any]) -> dict[str, Any]:
    """`told`: what the replay said of the trace when it began stands in the manifest and is taken over."""
    columns, told = run.columns, run.manifest["replay"]
    late_ms = (columns["issued_ns"] - flow.could_go_ns) / NS_PER_MS
    late_ms = late_ms[~np.isnan(late_ms)]
    p50, p99, most = (float(np.quantile(late_ms, q)) for q in (0.5, 0.99, 1.0)) if len(late_ms) else (0.0, 0.0, 0.0)
    lengths = point["lengths"]
    faults = []
    if p99 > LATE_MS_MAX:
        faults.append(f"1 % of the requests went more than {p99:.3g} ms late")
    if len(columns["index"]) < len(run.plan):
        faults.append(f"{len(run.plan) - len(columns['index'])} requests were not sent")
    for side in ("input", "output"):
        share = lengths[f"{side}_mismatch_share"]
        if share is not None and share > LENGTH_SHARE_MAX:
            texts = side == "input" and told.get("texts_sent")  # word for word: it is the counting that differs
            what = (
                "recorded prompts are of another length for this model"
                if texts
                else f"{side} lengths are not the trace's"
            )
            faults.append(f"{100 * share:.3g} % of the {what}")
    minutes = _minutes(run, flow, ttft_ns)
    server = server_section(run.telemetry, 0.0, flow.ended_ns) or {}  # of all of it: the last answers count too
    found: dict[str, Any] = told | {
        "late_p50_ms": p50,
        "late_p99_ms": p99,
        "late_max_ms": most,
        "lateness": {"upto_ms": [*LATENESS_MS, None], "requests": _lateness(late_ms), "promised_ms": LATE_MS_MAX},
        "requests": len(run.plan),
        "sent": len(columns["index"]),
        "hit_rate_observed": server.get("prefix_hit_rate"),
        "faithful": not faults,
        "faults": faults,
        "minutes": minutes,
        "worst": sorted((each for each in minutes if each["p99_ttft_ms"]), key=lambda each: -each["p99_ttft_ms"])[
            :WORST
        ],
    }
    return found


def _lateness(late_ms: Floats) -> list[int]:
    """How many requests were at most so late and more than the step before; the last: later than all steps."""
    counts: list[int] = np.bincount(np.searchsorted(LATENESS_MS, late_ms), minlength=len(LATENESS_MS) + 1).tolist()
    return counts


def in_words(replayed: dict[str, Any]) -> str:
    """A few sentences: was it faithful, the hit rate, the worst minute."""
    late = format_duration(replayed["late_p99_ms"] * NS_PER_MS)
    if replayed["faithful"]:
        sentences = [f"Replayed {replayed['sent']:,} requests as recorded, at most {late} late (p99)."]
    else:
        sentences = [f"The replay was not faithful: {'; '.join(replayed['faults'])}."]
    ideal, observed = replayed["hit_rate_ideal"], replayed["hit_rate_observed"]
    if ideal is not None and observed is not None:
        sentences.append(f"Prefix hit rate {100 * observed:.1f} % of an ideal {100 * ideal:.1f} %.")
    if replayed["worst"] and len(replayed["minutes"]) > 1:
        worst = replayed["worst"][0]
        ttft = format_duration(worst["p99_ttft_ms"] * NS_PER_MS)
        since = f"{worst['start_s'] / 60:g} min"
        sentences.append(f"Worst minute: from {since} on, p99 TTFT {ttft} with {worst['due']} requests due.")
    return " ".join(sentences)


def _minutes(run: RunData, flow: Flow, ttft_ns: Floats) -> list[dict[str, Any]]:
    """What was wanted, sent and answered in each minute (or in longer parts of a long run), and how long it took."""
    width_s = 60.0 * max(1.0, np.ceil(flow.ended_ns / NS_PER_S / 60 / MINUTES_MAX))
    edges_ns = np.arange(0, max(flow.ended_ns, 1.0) + width_s * NS_PER_S, width_s * NS_PER_S)
    columns = run.columns
    ok = columns["outcome"] == Outcome.OK
    wanted = np.histogram(run.plan.due_ns, edges_ns)[0]
    sent = np.histogram(columns["issued_ns"][~np.isnan(columns["issued_ns"])], edges_ns)[0]
    parts = []
    for k, start_ns in enumerate(edges_ns[:-1].tolist()):
        rows = ok & (flow.due_ns >= start_ns) & (flow.due_ns < edges_ns[k + 1])
        found = {
            "start_s": start_ns / NS_PER_S,
            "due": int(wanted[k]),
            "sent": int(sent[k]),
            "completed": int(rows.sum()),
        }
        for name, values_ns in (("ttft", ttft_ns), ("e2el", columns["done_ns"] - flow.due_ns)):
            known = values_ns[rows & ~np.isnan(values_ns)] / NS_PER_MS
            for share in (50, 99):
                found[f"p{share}_{name}_ms"] = float(np.quantile(known, share / 100)) if len(known) else None
        parts.append(found)
    return parts
