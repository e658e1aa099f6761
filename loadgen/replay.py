"""A replay: a run whose plan is a trace. Shape it as asked, say what was left out, make its prompts, drive it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loadgen.config import Settings
from loadgen.errors import BadInputError
from loadgen.plan import Plan
from loadgen.prepare import SetUp
from loadgen.progress import Observer, ignore
from loadgen.rng import generator
from loadgen.run import drive
from loadgen.trace import scaling
from loadgen.trace.chains import dense, hit_tokens
from loadgen.trace.formats.lengths import NO_TIMES
from loadgen.trace.prompts import block_numbers
from loadgen.trace.sessions import Course, course
from loadgen.trace.table import Int64s, Trace
from loadgen.units import NS_PER_S, format_number
from loadgen.values import ROWS
from loadgen.workload.distributions import parse_distribution

Bools = npt.NDArray[np.bool_]
LEAD_NS = NS_PER_S  # before the first arrival: many long prompts may be due with it, and are made by then


def shaped(trace: Trace, settings: Settings) -> Trace:
    """The part, pace and number of copies that were asked for, in this order. Raises BadInputError where that cannot
    be replayed anywhere; asks no server, so that this is said before one is started."""
    if NO_TIMES in trace.survey.oddities:
        raise BadInputError(
            f"{trace.survey.path} has no times: there is nothing to replay.",
            f"Draw the times instead: loadgen run --request-rate 8 --dataset {trace.survey.path}",
        )
    if settings.window is not None:
        trace = scaling.window(trace, *settings.window)
    if settings.dequantize_ns:
        trace = scaling.dequantized(trace, settings.dequantize_ns, settings.seed or 0)
    if settings.sample_sessions < 1:
        trace = scaling.sampled(trace, settings.sample_sessions, settings.seed or 0)
    if settings.overlay > 1:
        trace = scaling.overlaid(trace, settings.overlay, settings.seed or 0)
    if settings.loop > 1:
        trace = scaling.repeated(trace, settings.loop)
    if settings.idle_cap_ns:
        trace = scaling.idle_capped(trace, settings.idle_cap_ns)
    if settings.speed != 1:
        trace = scaling.faster(trace, settings.speed)
    if not len(trace):
        raise BadInputError("Nothing of the trace is left to replay.", "Choose a longer --window or a larger sample.")
    for name, unknown, text in (
        ("input", (trace.input_tokens < 0) & ~has_text(trace), settings.input_len),
        ("output", trace.output_tokens < 0, settings.output_len),
    ):
        if unknown.any() and text is None:
            raise BadInputError(
                f"The trace does not say how long {'the prompts' if name == 'input' else 'the answers'} of "
                f"{int(unknown.sum()):,} requests were.",
                f"Say what to take instead: --{name}-len 256, or a distribution.",
            )
    return trace


def has_text(trace: Trace) -> Bools:
    """bool[n]: its prompt is recorded, and sent as it is."""
    if trace.texts is None:
        return np.zeros(len(trace), np.bool_)
    return np.array([text is not None for text in trace.texts], np.bool_)


def playable(trace: Trace, settings: Settings, context_max: int | None) -> tuple[Trace, dict[str, int]]:
    """The rows that can be sent, by the policies of `--rows`, and how many were treated in which way."""
    treated: Counter[str] = Counter()
    inputs, outputs = trace.input_tokens.copy(), trace.output_tokens.copy()
    n = len(trace)
    kept = np.ones(n, np.bool_)
    told = has_text(trace)
    for name, column, text in (("input", inputs, settings.input_len), ("output", outputs, settings.output_len)):
        unknown = column < 0 if name == "output" else (column < 0) & ~told
        if unknown.any() and text is not None:
            column[unknown] = parse_distribution(text).draw(
                generator(settings.seed or 0, f"replay.{name}"), int(unknown.sum())
            )
            treated[f"{name} length not recorded: drawn"] += int(unknown.sum())
    treated["prompt length not recorded: the recorded text is sent"] += int((told & (inputs < 0)).sum())
    policy = {name: settings.rows.get(name, choices[0]) for name, choices in ROWS.items()}
    failed = trace.status >= 400
    if policy["failed"] == "skip":
        treated["failed when recorded: left out"] += int(failed.sum())
        kept &= ~failed
    zero = kept & (outputs == 0)
    if policy["zero"] == "skip":
        treated["no output recorded: left out"] += int(zero.sum())
        kept &= ~zero
    else:
        treated["no output recorded: one token asked for"] += int(zero.sum())
        outputs[zero] = 1
    if context_max is not None and policy["overflow"] != "send":
        over = kept & (inputs + outputs > context_max)
        if policy["overflow"] == "skip":
            treated[f"longer than the context of {context_max:,}: left out"] += int(over.sum())
            kept &= ~over
        else:
            treated[f"longer than the context of {context_max:,}: cut"] += int(over.sum())
            outputs[over] = np.minimum(outputs[over], max(1, context_max // 2))
            inputs[over] = np.minimum(inputs[over], context_max - outputs[over])
    empty = kept & (inputs == 0)
    treated["empty prompt: left out"] += int(empty.sum())
    kept &= ~empty
    if not kept.any():
        raise BadInputError(
            "No request of the trace can be replayed here: "
            + ", ".join(f"{count:,} {what}" for what, count in treated.items() if count)
            + ".",
            _hint_of_context(inputs + outputs, context_max) or "See --rows.",
        )
    whole = replace(trace, input_tokens=inputs, output_tokens=outputs)
    return scaling.take(whole, np.flatnonzero(kept)), {what: count for what, count in treated.items() if count}


def _hint_of_context(tokens: Int64s, context_max: int | None) -> str:
    """What to do where the context is too short for all; empty where it is not."""
    longest = int(tokens.max(initial=0))
    if context_max is None or longest <= context_max:
        return ""
    return (
        f"The longest needs a context of {longest:,}: serve the model with that (a simulator: --engine "
        f"'simulator --max-model-len {longest}'), or cut what is longer: --rows overflow=clamp."
    )


def plan_of(trace: Trace, found: Course, settings: Settings, label: str) -> Plan:
    """The plan; its requests stand in the order in which they may go, `found.row` says which row each is."""
    row = found.row
    return Plan(
        due_ns=found.due_ns + LEAD_NS,
        after=found.after,
        think_ns=found.think_ns,
        input_tokens=np.maximum(trace.input_tokens[row], 0),  # a recorded text of unknown length plans none
        output_tokens=trace.output_tokens[row],
        label=np.zeros(len(row), np.int64),
        labels=(label,),
        in_flight_max=settings.max_concurrency,
        drain_ns=settings.drain_ns,
        seed=settings.seed or 0,
        joins=found.joins,
        shape={"loop": "replay", "mode": settings.mode, "speed": settings.speed},
    )


def replay(
    setup: SetUp,
    folder: Path,
    trace: Trace,
    *,
    say: Callable[[str], None] = lambda _: None,
    observer: Observer = ignore,
) -> dict[str, Any]:
    """Replay a trace as `shaped` and return its point; the folder holds everything."""
    settings = setup.settings
    part, treated = playable(
        trace, settings, None if settings.rows.get("overflow") == "send" else setup.protocol.context_max
    )
    found = course(part, settings.mode)
    label = Path(trace.survey.path).stem
    plan = plan_of(part, found, settings, label)
    told = {
        "trace": trace.survey.path,
        "format": trace.survey.format,
        "sha256": trace.survey.sha256,
        "rows_read": trace.survey.rows_read,
        "rows_dropped": trace.survey.dropped,
        "rows_treated": treated,
        "done_to_it": trace.survey.oddities,
        "mode": settings.mode,
        "speed": settings.speed,
        "sessions": int(np.unique(part.session[part.session >= 0]).size),
        "think_times_unknown": found.guessed,
        "hit_rate_ideal": _ideal_hit_rate(part),
        "texts_sent": int(has_text(part).sum()),
    }
    for line in in_words(told, plan):
        say(line)
    texts = part.texts
    made = setup.made(block_numbers(part, settings.seed or 0))

    def prompts(index: int, wanted: int) -> Any:
        row = int(found.row[index])
        text = texts[row] if texts is not None else None
        return text if text is not None else made(row, wanted)

    return drive(
        setup,
        folder,
        plan,
        prompts,
        rate="replay",
        dataset=label,
        duration_ns=int(plan.due_ns[-1]),
        observer=observer,
        replayed=told,
    )


def _ideal_hit_rate(trace: Trace) -> float | None:
    """Share of the prompt tokens that a cache without end would have; None where the trace tells nothing of sharing."""
    if trace.blocks is None:
        return None
    blocks = replace(trace.blocks, ids=dense(trace.blocks.ids))
    return float(hit_tokens(blocks, trace.input_tokens).sum() / trace.input_tokens.sum())


def in_words(told: dict[str, Any], plan: Plan) -> list[str]:
    """What will be replayed, before it is: a few lines for people."""
    span_s = float(plan.due_ns[-1]) / NS_PER_S
    rate = len(plan) / span_s if span_s else float(len(plan))
    number = told["sessions"]
    sessions = f" in {number:,} session{'s' if number > 1 else ''} ({told['mode']})" if number else ""
    hit = (
        ""
        if told["hit_rate_ideal"] is None
        else f", ideal prefix hit rate {format_number(100 * told['hit_rate_ideal'])} %"
    )
    pace = f"over {format_number(span_s)} s, {format_number(rate)} req/s on average"
    lines = [f"Replaying {len(plan):,} requests{sessions} of {told['trace']} ({told['format']}) {pace}{hit}."]
    lines += [f"  {count:,} rows: {what}." for what, count in told["rows_treated"].items()]
    if told["think_times_unknown"]:
        lines.append(
            f"  {told['think_times_unknown']:,} think times are not in the trace: those go at their recorded times."
        )
    return lines
