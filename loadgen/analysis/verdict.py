"""Which findings a run deserves, and the one word for it. Every limit stands in one table, with its reason.

Each check looks at the point (plain numbers) and the parts it was made from, and yields findings. The verdict follows
from the findings by precedence: a client that was the limit spoils everything, so it is said first.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadgen.analysis.crowding import crowding_within
from loadgen.analysis.data import RunData
from loadgen.analysis.findings import Code, Finding, Severity, finding
from loadgen.analysis.flow import Flow
from loadgen.analysis.lag import PAUSE_NS_MAX, Lag
from loadgen.analysis.metrics import SAMPLES_MIN, samples_min
from loadgen.analysis.sample import Bools
from loadgen.analysis.steady import Backlog, Filling, Unsteady
from loadgen.analysis.window import Window
from loadgen.exchange import FAILED, Outcome
from loadgen.units import NS_PER_MS, NS_PER_S, format_duration, format_number

LIMITS = {
    "cpu": 0.85,  # of a core over 5 s: above it a single thread answers late more often than not
    "read_delay_ms": 5.0,  # as for lag: below it, nobody decides anything on the difference
    "read_delay_of_ttft": 0.01,
    "user_stamps": 0.01,  # share of requests that the kernel did not stamp whole: a p99 does not see fewer, nor one
    "canary_ms": 5.0,  # as for lag; a kernel's stamp is off by 0.02 ms
    "gc_pause_ms": 10.0,  # shows in a p99.9, not in a p99
    "rate": 0.02,  # send rate off plan: what a reader takes for the same rate
    "rate_requests": 3,  # and this many requests: one may leave just after the window's edge
    "dispersion_ratio": 1.5,  # sent over planned, either way: bunching that moves a queue
    "dispersion_gap": 0.3,  # and this far apart: a constant rate has next to none, so ratios mean nothing there
    "failed": 0.01,  # above it p99 is missing its worst requests
    "length": 0.01,  # share of requests whose length is not the one asked for
    "multi_token": 0.01,  # share of events
    "empty_events": 0.01,
    "asked_unseen": 0.1,  # of the tokens that count as asked: halves of characters alone are fewer
    "simulator_late_ms": 5.0,
    "clock_step_ms": 1.0,
}

# verdict -> the findings that lead to it, when at least that severe; in order of precedence
_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
VERDICTS: dict[str, tuple[Severity, frozenset[Code]]] = {
    "CLIENT_LIMITED": (
        _ERROR,
        frozenset(
            {
                Code.CLIENT_LAG,
                Code.CLIENT_CPU,
                Code.CLIENT_UNSENT,
                Code.CLIENT_RESOURCES,
                Code.READ_DELAY,
                Code.STAMPS_OFF,
                Code.RATE_NOT_HELD,
                Code.DISPERSION,
                Code.CLOCK_STEP,
            }
        ),
    ),
    "SERVER_ERRORS": (_ERROR, frozenset({Code.SERVER_ERRORS})),
    "NOT_STEADY": (_WARNING, frozenset({Code.SATURATED, Code.SHORT_RUN, Code.NOT_AT_REST, Code.NO_PLATEAU})),
    "TOO_FEW_SAMPLES": (_WARNING, frozenset({Code.FEW_SAMPLES, Code.MAYBE_SATURATED})),
}
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checks look at. `inside`: bool[n], the records of the window; `point`: everything computed so far."""

    run: RunData
    flow: Flow
    window: Window
    inside: Bools
    lag: Lag
    backlog: Backlog | None
    filling: Filling | None
    changes: list[Unsteady]
    point: dict[str, Any]


def verdict_of(findings: list[Finding]) -> str:
    """VALID, or the first verdict of the table that a finding leads to."""
    for verdict, (severity, codes) in VERDICTS.items():
        if any(each.code in codes and _RANK[each.severity] >= _RANK[severity] for each in findings):
            return verdict
    return "VALID"


def findings_of(evidence: Evidence) -> list[Finding]:
    """All findings, the gravest first."""
    found = [each for check in _CHECKS for each in check(evidence)]
    if "replay" in evidence.run.manifest:
        found = [each.of_a_replay() for each in found]
    return sorted(found, key=lambda each: -_RANK[each.severity])


def _lag(e: Evidence) -> Iterator[Finding]:
    ttft_ms = e.point["median_ttft_ms"]
    if e.lag.too_late(None if ttft_ms is None else ttft_ms * NS_PER_MS):
        yield finding(
            Code.CLIENT_LAG,
            p99=format_duration(e.lag.p99_ns),
            worst=format_duration(float(e.lag.all_ns.max())),
            ttft=_ms(ttft_ms),
        )
    elif e.lag.pauses:
        held = len(e.lag.all_ns) - len(e.lag.judged_ns)
        yield finding(
            Code.CLIENT_HICCUP,
            pauses="A pause" if e.lag.pauses == 1 else f"{e.lag.pauses} pauses",
            worst=format_duration(float(e.lag.all_ns[e.lag.all_ns <= PAUSE_NS_MAX].max())),
            requests=held,
            of=len(e.lag.all_ns),
        )


def _client(e: Evidence) -> Iterator[Finding]:
    client, point = e.point["client"], e.point
    if _over(client["cpu_fraction_max"], LIMITS["cpu"]):
        yield finding(Code.CLIENT_CPU, cpu=_percent(client["cpu_fraction_max"]))
    if point["unsent"]:
        yield finding(Code.CLIENT_UNSENT, unsent=point["unsent"], planned=point["num_prompts"])
    if ours := point["errors"].get(Outcome.CLIENT_ERROR):
        yield finding(Code.CLIENT_RESOURCES, failed=ours, detail=_commonest(e, {Outcome.CLIENT_ERROR}))
    delay_ms = max((client[key] or 0.0 for key in ("read_delay_p99_ms", "loop_lag_p99_ms")), default=0.0)
    small_ms = LIMITS["read_delay_of_ttft"] * (point["median_ttft_ms"] or 0.0)
    unstamped = int((e.run.columns["stamp_source"][e.inside] == "user").sum())
    several = unstamped > max(1.0, LIMITS["user_stamps"] * e.inside.sum())
    if several and delay_ms > max(LIMITS["read_delay_ms"], small_ms):
        yield finding(Code.READ_DELAY, delay=_ms(delay_ms))
    if _over(client["canary_p99_ms"], max(LIMITS["canary_ms"], small_ms)):
        typical = _over(client["canary_p50_ms"], max(LIMITS["canary_ms"], small_ms))
        yield finding(
            Code.STAMPS_OFF,
            Severity.ERROR if typical else Severity.WARNING,
            typical=_ms(client["canary_p50_ms"]),
            p99=_ms(client["canary_p99_ms"]),
        )
    if _over(client["gc_pause_max_ms"], LIMITS["gc_pause_ms"]):
        yield finding(Code.GC_PAUSE, pause=_ms(client["gc_pause_max_ms"]))
    if client["retries"]:
        yield finding(Code.RETRIES, retries=client["retries"])
    backward = int(e.run.columns["backward"][e.inside].sum())
    if backward or _over(client["clock_step_max_ms"], LIMITS["clock_step_ms"]):
        severity = Severity.ERROR if backward > 0.001 * point["num_prompts"] + 1 else Severity.WARNING
        yield finding(Code.CLOCK_STEP, severity, requests=backward, step=_ms(client["clock_step_max_ms"]))


def _pace(e: Evidence) -> Iterator[Finding]:
    if e.flow.loop != "open":
        return
    held = e.flow.held & e.inside
    if held.any():
        wait_ns = float((e.flow.could_go_ns - e.flow.due_ns)[held].max())
        yield finding(
            Code.CAP_HELD,
            cap=e.run.plan.in_flight_max,
            held=int(held.sum()),
            requests=int(e.inside.sum()),
            longest=format_duration(wait_ns),
        )
        return  # what follows is the cap's doing, not ours
    offered, sent = e.point["offered_rate"], e.point["send_rate"]
    if offered:
        sent += _over_the_edge(e) / e.window.duration_s
    if offered and abs(sent - offered) > max(LIMITS["rate"] * offered, LIMITS["rate_requests"] / e.window.duration_s):
        yield finding(Code.RATE_NOT_HELD, sent=format_number(sent), offered=format_number(offered))
    client = e.point["client"]
    for width, sent in client["dispersion"].items():
        planned = client["planned_dispersion"][width]
        if sent is None or planned is None or abs(sent - planned) <= LIMITS["dispersion_gap"]:
            continue
        if not 1 / LIMITS["dispersion_ratio"] <= sent / max(planned, 1e-9) <= LIMITS["dispersion_ratio"]:
            yield finding(
                Code.DISPERSION, width=f"{width[:-1]} s", sent=format_number(sent), planned=format_number(planned)
            )
            return


def _over_the_edge(e: Evidence) -> int:
    """Requests due at the very end of the window and sent just after it, less those of its beginning: many may share
    one due time in a recorded trace, and that they are a little late says their lag and not a rate."""
    soon = e.flow.left_ns - e.flow.due_ns < PAUSE_NS_MAX
    crossing = [
        int((soon & (e.flow.due_ns <= edge_ns) & (e.flow.left_ns > edge_ns)).sum())
        for edge_ns in (e.window.end_ns, e.window.start_ns)
    ]
    return crossing[0] - crossing[1]


def _server(e: Evidence) -> Iterator[Finding]:
    point = e.point
    errors = {outcome: n for outcome, n in point["errors"].items() if outcome != Outcome.CLIENT_ERROR}
    if errors:
        grave = sum(errors.values()) > LIMITS["failed"] * (point["num_prompts"] - point["unsent"])
        yield finding(
            Code.SERVER_ERRORS,
            Severity.ERROR if grave else Severity.WARNING,
            failed=sum(errors.values()),
            requests=point["num_prompts"],
            outcomes=", ".join(f"{n} {outcome.replace('_', ' ')}" for outcome, n in errors.items()),
            detail=_commonest(e, FAILED - {Outcome.CLIENT_ERROR}),
        )
    if e.backlog is not None and e.backlog.grows:
        yield finding(
            Code.SATURATED,
            achieved=format_number(point["achieved_rate"] or 0.0),
            offered=format_number(point["offered_rate"] or 0.0),
            backlog=e.backlog.level,
        )
    elif e.filling is not None:
        if found := crowding_within(e.run, e.flow, e.window.end_ns):
            yield found.finding()
    elif e.changes:
        worst = min(e.changes, key=lambda each: each.change.p)
        name = {"ttft": "TTFT", "tpot": "TPOT", "in_flight": "The number in flight"}[worst.series]
        levels = (worst.change.before, worst.change.after)
        say = format_number if worst.series == "in_flight" else format_duration
        yield finding(
            Code.NO_PLATEAU,
            series=name,
            before=say(levels[0]),
            after=say(levels[1]),
            how="bit by bit" if worst.kind == "trend" else "at one moment",
            p=f"{worst.change.p:.1g}",
        )
    if e.filling is not None:
        stay = f"{'at least ' if point['censored'] else ''}{format_duration(e.filling.stay_ns)}"
        load, enough = format_duration(e.filling.load_ns), f"{e.filling.enough_s}s"
        yield finding(Code.SHORT_RUN, stay=stay, load=load, duration=enough)
    elif e.backlog is not None and e.backlog.doubtful:
        growth = format_number(round(e.backlog.growth))
        yield finding(Code.MAYBE_SATURATED, growth=growth, arrivals=point["whole_run"]["num_prompts"])
    if unrest := e.run.manifest.get("unrest"):
        yield finding(Code.NOT_AT_REST, seen=unrest)
    if _over((point["server"] or {}).get("lateness_p99_ms"), LIMITS["simulator_late_ms"]):
        yield finding(Code.SIMULATOR_LATE, lateness=_ms(point["server"]["lateness_p99_ms"]))


def _samples(e: Evidence) -> Iterator[Finding]:
    point, completed = e.point, e.point["completed"]
    if e.flow.loop == "batch" and completed:
        return  # judged by its throughput, whose interval comes from the repeats
    lacking = [each for each in (point["slo"] or {"clauses": []})["clauses"] if not each["enough_samples"]]
    if completed < SAMPLES_MIN[50.0]:
        which, needed, severity = "even a median", SAMPLES_MIN[50.0], Severity.WARNING
    elif lacking and completed:
        which = lacking[0]["text"]
        needed, severity = samples_min(float(lacking[0]["statistic"][1:])), Severity.WARNING
    elif completed < SAMPLES_MIN[99.0]:
        which, needed, severity = "p99", SAMPLES_MIN[99.0], Severity.INFO
    else:
        return
    rate = point["achieved_rate"]
    if e.filling is not None:  # that is no rate; what a server that is full sees is the one offered
        rate = min(point["offered_rate"] or 0.0, needed / e.filling.enough_s)
    yield finding(
        Code.FEW_SAMPLES,
        severity,
        completed=completed,
        which=which,
        needed=needed,
        duration=f"at this rate about {format_duration(needed / rate * NS_PER_S)}" if rate else "several times as long",
    )


def _answers(e: Evidence) -> Iterator[Finding]:
    lengths = e.point["lengths"]
    for code, side in ((Code.OUTPUT_LENGTH, "output"), (Code.INPUT_LENGTH, "input")):
        if _over(lengths[f"{side}_mismatch_share"], LIMITS["length"]):
            yield finding(
                code,
                share=_percent(lengths[f"{side}_mismatch_share"]),
                asked=format_number(lengths[f"{side}_asked_mean"]),
                obtained=format_number(lengths[f"{side}_obtained_mean"]),
            )
    if _over(lengths["multi_token_share"], LIMITS["multi_token"]):
        yield finding(Code.MULTI_TOKEN_EVENTS, share=_percent(lengths["multi_token_share"]))
    if _over(lengths["empty_share"], LIMITS["empty_events"]):
        yield finding(Code.EMPTY_EVENTS, empty=lengths["empty_events"])


def _counting(e: Evidence) -> Iterator[Finding]:
    """Where the server does not say how many tokens it sent."""
    sources, unseen = e.point["lengths"]["token_sources"], e.point["lengths"]["asked_unseen_share"]
    answers = e.point["completed"]
    if asked := sources.get("asked"):
        shown, advice = "Their events say the same.", "Nothing to do."
        if unseen:
            shown = (
                f"{_percent(unseen)} of their tokens had no event of their own: they shared one, unless a full "
                "context ended answers early."
            )
        much = _over(unseen, LIMITS["asked_unseen"])
        if much:
            advice = "Make sure that the server's context holds the longest prompt and its answer."
        severity = _WARNING if much else Severity.INFO
        yield finding(Code.TOKENS_ASKED, severity, asked=asked, answers=answers, shown=shown, advice=advice)
    if estimated := sources.get("events"):
        yield finding(Code.TOKENS_ESTIMATED, estimated=estimated, answers=answers)


def _ending(e: Evidence) -> Iterator[Finding]:
    if e.point["censored"]:
        yield finding(Code.CENSORED, censored=e.point["censored"], requests=e.point["num_prompts"])
    if e.run.manifest.get("cut") or e.run.manifest.get("interrupted"):
        yield finding(Code.CUT_RUN, duration=format_duration(e.flow.ended_ns))


_CHECKS = (_lag, _client, _pace, _server, _samples, _answers, _counting, _ending)


def _over(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def _commonest(e: Evidence, outcomes: frozenset[Outcome] | set[Outcome]) -> str:
    wanted = e.inside & np.isin(e.run.columns["outcome"].astype(str), [str(each) for each in outcomes])
    details = Counter(e.run.columns["detail"][wanted].tolist()) - Counter({"": len(e.inside)})
    return f"“{details.most_common(1)[0][0]}”" if details else "no detail was given"


def _percent(share: float) -> str:
    return f"{format_number(100 * share)} %"


def _ms(ms: float | None) -> str:
    return "unknown" if ms is None else format_duration(ms * NS_PER_MS)
