"""THE table of findings: what was seen, what it may mean, what to try next. Adding a finding is adding a line.

A finding explains; it decides nothing. Which findings decide the verdict is said in `verdict.py`.
"""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Code(StrEnum):
    CLIENT_LAG = "CLIENT_LAG"
    CLIENT_HICCUP = "CLIENT_HICCUP"
    CLIENT_CPU = "CLIENT_CPU"
    CLIENT_UNSENT = "CLIENT_UNSENT"
    CLIENT_RESOURCES = "CLIENT_RESOURCES"
    READ_DELAY = "READ_DELAY"
    STAMPS_OFF = "STAMPS_OFF"
    GC_PAUSE = "GC_PAUSE"
    RATE_NOT_HELD = "RATE_NOT_HELD"
    DISPERSION = "DISPERSION"
    CAP_HELD = "CAP_HELD"
    SERVER_ERRORS = "SERVER_ERRORS"
    SATURATED = "SATURATED"
    MAYBE_SATURATED = "MAYBE_SATURATED"
    SHORT_RUN = "SHORT_RUN"
    NOT_AT_REST = "NOT_AT_REST"
    NO_PLATEAU = "NO_PLATEAU"
    FEW_SAMPLES = "FEW_SAMPLES"
    OUTPUT_LENGTH = "OUTPUT_LENGTH"
    INPUT_LENGTH = "INPUT_LENGTH"
    MULTI_TOKEN_EVENTS = "MULTI_TOKEN_EVENTS"
    EMPTY_EVENTS = "EMPTY_EVENTS"
    TOKENS_ASKED = "TOKENS_ASKED"
    TOKENS_ESTIMATED = "TOKENS_ESTIMATED"
    RETRIES = "RETRIES"
    CENSORED = "CENSORED"
    CUT_RUN = "CUT_RUN"
    SIMULATOR_LATE = "SIMULATOR_LATE"
    CLOCK_STEP = "CLOCK_STEP"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the reader is told; whole sentences."""

    code: Code
    severity: Severity
    seen: str
    meaning: str
    try_next: str
    try_replaying: str = ""  # instead, of a replay; empty: the same

    def as_dict(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items() if key != "try_replaying"}

    def of_a_replay(self) -> "Finding":
        return replace(self, try_next=self.try_replaying or self.try_next)


_Template = tuple[Severity, str, str, str]
_INFO, _WARNING, _ERROR = Severity

FINDINGS: dict[Code, _Template] = {
    Code.CLIENT_LAG: (
        _ERROR,
        "Requests left late through our own doing: lag p99 {p99}, worst {worst}, against a median TTFT of {ttft}.",
        "Latency counts from the due time, so this lateness is inside every figure: it is ours, not the server's.",
        "Give the client cores of its own, run it on another machine, or lower the rate.",
    ),
    Code.CLIENT_HICCUP: (
        _WARNING,
        "{pauses} of ours, the longest {worst}, held back {requests} of {of} requests.",
        "The operating system let us wait. It is in the highest percentiles and nowhere else.",
        "Nothing, unless the highest percentiles matter: then run again on a quieter machine.",
    ),
    Code.CLIENT_CPU: (
        _ERROR,
        "This process used {cpu} of a core over five seconds.",
        "A client that has no time to spare measures itself.",
        "Lower the rate, or give the client faster cores of its own.",
    ),
    Code.CLIENT_UNSENT: (
        _ERROR,
        "{unsent} of {planned} requests were due and never left.",
        "The server was under less load than planned, and it shows better figures than it would.",
        "Lower the rate, or run the client on a machine of its own.",
    ),
    Code.CLIENT_RESOURCES: (
        _ERROR,
        "{failed} requests failed on this machine, before the server: {detail}.",
        "We ran out of something of our own, such as file descriptors or ports.",
        "Raise `ulimit -n`, widen net.ipv4.ip_local_port_range, or use fewer requests in flight.",
    ),
    Code.READ_DELAY: (
        _ERROR,
        "Answers were stamped when we read them, not when they arrived, and we read up to {delay} late (p99).",
        "TTFT and ITL contain our own delay.",
        "Use the socket transport on Linux, where the kernel stamps arrivals.",
    ),
    Code.STAMPS_OFF: (
        _WARNING,
        "A stream of known timing, read as the answers are, was stamped {typical} off its true times (p99 {p99}).",
        "Arrival stamps, and with them TTFT and ITL, are wrong by as much.",
        "Let no time service step the clock; on a virtual machine, look for stolen CPU time; run on another machine.",
    ),
    Code.GC_PAUSE: (
        _WARNING,
        "Python's garbage collector stopped us for {pause} at the longest.",
        "Requests due in that time left late by as much.",
        "If it comes again, please report it with this run's folder: the client is built to avoid it.",
    ),
    Code.RATE_NOT_HELD: (
        _ERROR,
        "{sent} req/s were sent where {offered} req/s were due.",
        "The server was not under the load that this point is named after.",
        "Lower the rate, or run the client on a machine of its own.",
    ),
    Code.DISPERSION: (
        _ERROR,
        "In windows of {width}, the counts of requests sent have a dispersion of {sent}; the plan has {planned}.",
        "Requests left in other bunches than planned, so queues formed, or failed to form, because of us.",
        "Lower the rate, or run the client on a machine of its own; look at the lag.",
    ),
    Code.CAP_HELD: (
        _WARNING,
        "The cap of {cap} in flight held back {held} of {requests} requests, for up to {longest}.",
        "TTFT and E2EL contain that wait, since they count from due: a queue that stood in front of the server.",
        "Raise --max-concurrency, or read ttft_send and e2el_send for the server alone.",
    ),
    Code.SERVER_ERRORS: (
        _ERROR,
        "{failed} of {requests} requests failed: {outcomes}. The commonest: {detail}.",
        "What fails costs the server little, so the rest may look faster than it would.",
        "Look at the server's log; then lower the rate or raise its limits.",
    ),
    Code.SATURATED: (
        _WARNING,
        "{achieved} of {offered} req/s completed, backlog grew to {backlog}.",
        "The server cannot keep up: latencies here grow with the length of the run and say nothing else.",
        "Read latencies at lower rates. To serve more: more replicas, a larger batch, or shorter outputs.",
    ),
    Code.MAYBE_SATURATED: (
        _WARNING,
        "At the end {growth} more requests were waiting or running than at the beginning, of {arrivals} that came.",
        "It may be chance or a server that falls behind: so few requests cannot tell.",
        "Run longer (--duration): some 2,000 requests after the server has filled are enough.",
    ),
    Code.SHORT_RUN: (
        _WARNING,
        "Answers took {stay} on average and the load lasted {load}: it ended before the server had filled.",
        "Hardly anything had the time to end, fast or slow: what did says little of what the server can do.",
        "Run longer: --duration {duration}.",
    ),
    Code.NOT_AT_REST: (
        _WARNING,
        "The server was still busy when this load began: {seen}.",
        "It goes on with requests of the load before that were let go, and what it gives to them is missing here.",
        "Let them end (a longer --drain), or measure this load by itself on the server at rest.",
    ),
    Code.NO_PLATEAU: (
        _WARNING,
        "{series} went from {before} to {after} {how}, and that is no chance (p = {p}).",
        "The server had no one level, so means and percentiles depend on when the run began and ended.",
        "Run longer, cut more warm-up (--warmup 60s), and look at the timeline for what changed.",
    ),
    Code.FEW_SAMPLES: (
        _INFO,
        "{completed} requests completed in the steady window; {which} would need {needed}.",
        "The percentiles listed as indicative may be far off.",
        "Run longer: {duration}.",
    ),
    Code.OUTPUT_LENGTH: (
        _WARNING,
        "{share} of answers were not as long as asked: {obtained} tokens on average instead of {asked}.",
        "Throughput and E2EL belong to another workload than the one asked for.",
        "Let the engine ignore the end of text (--extra-body ignore_eos), or accept answers of their own length.",
    ),
    Code.INPUT_LENGTH: (
        _INFO,
        "{share} of prompts counted {obtained} tokens on average at the server, {asked} in the plan.",
        "The server's tokenizer or its chat template counts differently.",
        "Give the model's own tokenizer (--tokenizer), or use the completions endpoint.",
    ),
    Code.MULTI_TOKEN_EVENTS: (
        _INFO,
        "{share} of the events carried more than one token.",
        "ITL has gaps of zero there; ICL, between events, is what a user sees.",
        "Compare ICL, or set the engine's stream interval to 1.",
    ),
    Code.EMPTY_EVENTS: (
        _INFO,
        "{empty} events carried a token and no text.",
        "Usually halves of a character that is not complete yet; they count as tokens, with their time.",
        "Nothing to do.",
    ),
    Code.TOKENS_ASKED: (
        _INFO,
        "The server sent no usage: {asked} of {answers} answers, ended for their length, count as long as asked.",
        "{shown}",
        "{advice}",
    ),
    Code.TOKENS_ESTIMATED: (
        _WARNING,
        "Output tokens of {estimated} of {answers} answers were counted as one an event: the server sent no usage.",
        "TPOT and token throughput are as wrong as events differ from tokens.",
        "Use an endpoint that answers stream_options.include_usage, or force lengths that the server's context holds.",
    ),
    Code.RETRIES: (
        _INFO,
        "{retries} requests were sent again on a fresh connection.",
        "The server closed idle connections just as we used them; the wait is in TTFT.",
        "Raise the server's keep-alive time if these are many.",
    ),
    Code.CENSORED: (
        _WARNING,
        "{censored} of {requests} requests were still running when the run ended.",
        "The slowest answers are missing, so high percentiles come out too low.",
        "Raise --drain, or lower the rate.",
    ),
    Code.CUT_RUN: (
        _WARNING,
        "The run was interrupted after {duration}.",
        "Everything up to there was measured and is reported.",
        "Run again for the whole length.",
    ),
    Code.SIMULATOR_LATE: (
        _WARNING,
        "The simulator wrote its tokens up to {lateness} late (p99).",
        "Both ends share this machine, and the server side was short of CPU: latencies are higher than its model.",
        "Lower the rate, or use a machine with more cores.",
    ),
    Code.CLOCK_STEP: (
        _ERROR,
        "The machine's clock was set during the run: {requests} requests have stamps that run backwards, step {step}.",
        "Arrival stamps of that moment are wrong by the step.",
        "Run again; stop the time service from stepping (slewing does no harm).",
    ),
}


# What to try where rate and length of the load are a trace's: the options of `loadgen replay`.
TRY_REPLAYING: dict[Code, str] = {
    Code.CLIENT_LAG: (
        "Give the client cores of its own, run it on another machine, or replay slower (a lower --speed)."
    ),
    Code.CLIENT_CPU: "Replay slower (a lower --speed), or give the client faster cores of its own.",
    Code.CLIENT_UNSENT: "Replay slower (a lower --speed), or run the client on a machine of its own.",
    Code.RATE_NOT_HELD: "Replay slower (a lower --speed), or run the client on a machine of its own.",
    Code.DISPERSION: ("Replay slower (a lower --speed), or run the client on a machine of its own; look at the lag."),
    Code.SERVER_ERRORS: "Look at the server's log; then replay slower (a lower --speed) or raise the server's limits.",
    Code.SATURATED: (
        "Read latencies of a slower replay (a lower --speed). To serve more: more replicas, a larger batch, or shorter "
        "outputs."
    ),
    Code.MAYBE_SATURATED: (
        "Replay more of the trace (a longer --window, or --loop): some 2,000 requests after the server has filled are "
        "enough."
    ),
    Code.SHORT_RUN: "Replay more of the trace (a longer --window, or --loop), for {duration} or more.",
    Code.NO_PLATEAU: "Replay a part with one level (--window), and look at the timeline for what changed.",
    Code.FEW_SAMPLES: "Replay more of the trace (a longer --window, or --loop): {duration}.",
    Code.INPUT_LENGTH: (
        "Give the model's own tokenizer (--tokenizer), or use the completions endpoint. Recorded texts are sent as "
        "they are, whatever the trace says of their length."
    ),
    Code.CENSORED: "Raise --drain, or replay slower (a lower --speed).",
    Code.SIMULATOR_LATE: "Replay slower (a lower --speed), or use a machine with more cores.",
}


def finding(code: Code, severity: Severity | None = None, /, **numbers: object) -> Finding:
    """The table's sentences with the numbers put in."""
    usual, seen, meaning, try_next = FINDINGS[code]
    texts = (each.format(**numbers) for each in (seen, meaning, try_next, TRY_REPLAYING.get(code, "")))
    return Finding(code, severity or usual, *texts)
