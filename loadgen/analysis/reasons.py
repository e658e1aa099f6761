"""Why a server serves no more: from one point's evidence to the limits that it shows, the one that binds first. Pure.

Evidence is what the point already holds: the server's gauges (`server`), what a small question to it took (`http`), the
roofline (`efficiency`), how requests failed, and the client's own health. Each rule looks for one limit and gives the
numbers it saw, or nothing; the rules stand in the order in which they bind: who was never let in says nothing of the
batch. Where the server is silent, what was seen of its answers speaks for it: how many decode at once, and all
tokens/s · the time of a token rows go through the model between two tokens of a sequence (Little's law).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadgen.analysis.decoding import decoding_at_once, token_ms
from loadgen.analysis.remedies import WORDS, Limit, try_next
from loadgen.units import NS_PER_MS, format_duration, format_number

REFUSED = 0.01  # of the requests answered with 429 or 503: no accident
OUTSIDE, OUTSIDE_MIN = 0.5, 4  # of the requests in flight neither run nor wait in the engine, and this many
SLOW_CONNECT_MS = 20.0  # longer than any link of one site takes
SLOW_ANSWER = 0.5  # a small question waits this share of what a request waits for its first token
SLOW_ANSWER_MS = 1000.0  # … or this long
KV_FULL, KV_MEAN = 0.95, 0.85
KV_RESERVED = 0.4  # used by the tokens that are there, when the rest is set aside for those that may come
PROMPTS_RULE, PROMPTS_NEARLY_ALL = 0.5, 0.9  # prompts take at least this share: of the time; of the tokens
AT_CAP = 0.9
GAIN_MIN = 1.2  # a batch twice as large gives less than this much more: the hardware is the limit, not the batch
ROWS_OF_A_RIDGE = 256.0  # rows a step above which bf16 GPUs are short of FLOP/s: 150 (A100) to 400 (L4)
SLOWED = 1.5  # TPOT over that of a light load
GPU_BUSY = 1 / 3  # of the time at the least times of the roofline: kernels reach 60 to 80 % of it
GAIN_NONE = 1.05  # what a batch twice as large gives, and is not worth a number

_REFUSALS = ("429", "503")

Point = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A point's numbers as the rules look at them; None where nobody told."""

    point: Point
    light: Point | None
    engine: str | None

    def server(self, name: str) -> float | None:
        return _number((self.point.get("server") or {}).get(name))

    def http(self, name: str) -> float | None:
        return _number((self.point.get("http") or {}).get(name))

    def roofline(self, name: str) -> float | None:
        return _number((self.point.get("efficiency") or {}).get(name))

    def own(self, name: str) -> float | None:
        return _number(self.point.get(name))

    @property
    def token_ms(self) -> float | None:
        return _number(token_ms(self.point))

    @property
    def decoding(self) -> float | None:
        """Sequences that decode at once, as seen from outside."""
        return _number(decoding_at_once(self.point))

    @property
    def rows(self) -> float | None:
        """Prompt and output tokens that the model computes in the time of one output token."""
        return _product(self.own("total_token_throughput"), self.token_ms)

    @property
    def prompt_rows(self) -> float | None:
        """The share of prompts among the tokens that go through the model."""
        total, output = self.own("total_token_throughput"), self.own("output_throughput")
        return None if not total or output is None else 1 - output / total

    @property
    def prompt_busy(self) -> float | None:
        """The share of the time that the prompts take, had each its own: rate · what the first token of a light load
        takes longer than the others."""
        rate = self.own("achieved_rate")
        ttft, tpot = (_number((self.light or {}).get(name)) for name in ("median_ttft_ms", "mean_tpot_ms"))
        return None if rate is None or ttft is None or tpot is None else rate * max(0.0, ttft - tpot) / 1000

    @property
    def outside(self) -> float | None:
        """Requests in flight that the engine neither runs nor has waiting."""
        in_flight, running, waiting = (
            self.own("effective_concurrency"),
            *map(self.server, ("running_mean", "waiting_mean")),
        )
        return None if in_flight is None or running is None else in_flight - running - (waiting or 0.0)

    @property
    def at_cap(self) -> bool:
        """As many sequences run as ever may; where the cap is not told, as ever did while others waited."""
        running, waiting = self.server("running_mean"), self.server("waiting_max")
        cap = self.server("cap") or (self.server("running_max") if waiting else None)
        return bool(running and cap and running >= AT_CAP * cap)

    @property
    def slowed(self) -> float | None:
        """The time of a token over that of the light load."""
        now, before = self.token_ms, None if self.light is None else _number(token_ms(self.light))
        return now / before if now and before else None


Rule = Callable[[Evidence], str | None]
"""What was seen, in words with numbers; None when this is not the limit."""


def limits(point: Point, light: Point | None = None, engine: str | None = None) -> list[dict[str, str]]:
    """The limits that a saturated point shows, the binding one first: {code, severity, seen, meaning, try_next} each.

    `light` is a point of the same sweep far below saturation, if there is one; `engine` who serves, where the gauges do
    not say it themselves. There is always one; LIMIT_UNKNOWN says what would settle it.
    """
    told = (point.get("server") or {}).get("engine")
    evidence = Evidence(point, light, told or engine)
    found = [(limit, seen) for limit, rule in RULES if (seen := rule(evidence)) is not None]
    if not found or {limit for limit, _ in found} == {Limit.ADMISSION}:
        found.append((Limit.UNKNOWN, _completions(evidence)))
    cap = evidence.server("cap")
    return [
        {
            "code": str(limit),
            "severity": "warning" if index == 0 else "info",
            "seen": f"{seen[0].upper()}{seen[1:]}.",
            "meaning": WORDS[limit][1],
            "try_next": try_next(limit, evidence.engine, None if cap is None else format_number(cap)),
        }
        for index, (limit, seen) in enumerate(found)
    ]


def reason_of(point: Point, light: Point | None = None, engine: str | None = None) -> str:
    """The binding limit as one clause, with its numbers and without a full stop: "the decode batch is full (…)"."""
    first, *others = limits(point, light, engine)
    clause = _clause(first)
    if first["code"] == Limit.ADMISSION and others and others[0]["code"] != Limit.UNKNOWN:
        clause += f"; behind it {_clause(others[0])}"
    return clause


def is_refusing(point: Point) -> bool:
    """Whether the server answers so many requests with 429 or 503 that this is its way of being full."""
    return _refused(point) > REFUSED


def _clause(finding: dict[str, str]) -> str:
    seen = finding["seen"].removesuffix(".")
    return f"{WORDS[Limit(finding['code'])][0]} ({seen[0].lower()}{seen[1:]})"


# -- the rules, each with its evidence ------------------------------------------------------------------------------


def _client(e: Evidence) -> str | None:
    if e.point.get("verdict") != "CLIENT_LIMITED":
        return None
    said = [each for each in e.point.get("findings") or [] if each.get("severity") == "error" and each.get("seen")]
    return str(said[0]["seen"]).rstrip(".") if said else "our own lateness is in every figure"


def _admission(e: Evidence) -> str | None:
    share = _refused(e.point)
    if share <= REFUSED:
        return None
    statuses = [each for each in _REFUSALS if (e.point.get("http_statuses") or {}).get(each)]
    return f"{_percent(share)} of the requests were answered with {' or '.join(statuses)}"


def _network(e: Evidence) -> str | None:
    connect, answer = e.http("connect_p50_ms"), e.http("answer_p50_ms")
    if connect is None or connect < max(SLOW_CONNECT_MS, answer or 0.0) or not _waits_outside(e):
        return None
    told = f"connecting took {_ms(connect)}"
    return f"{told} and more" if answer is None else f"{told}, being answered {_ms(answer)} after that"


def _front_end(e: Evidence) -> str | None:
    answer = e.http("answer_p50_ms")
    if _network(e) is not None:
        return None
    if _waits_outside(e):
        outside, in_flight, running = e.outside, e.own("effective_concurrency"), e.server("running_mean")
        if outside is None:
            return f"even a small question to the server took {_ms(answer or 0.0)}"
        asked = "" if answer is None else f"; a small question took {_ms(answer)}"
        return f"{_count(outside)} of {_count(in_flight)} requests not in the engine, {_count(running)} in it{asked}"
    if _is_gated(e) and (e.server("kv_cache_max") or 0.0) < KV_RESERVED:
        most, cap, waiting = (_count(e.server(name)) for name in ("running_max", "cap", "waiting_max"))
        return f"{most} of {cap} places taken, {waiting} waiting"
    return None


def _is_gated(e: Evidence) -> bool:
    """Some wait though places are free, and prompts do not take the time: somebody lets too few in."""
    cap, most, waiting = e.server("cap"), e.server("running_max"), e.server("waiting_mean")
    if not cap or most is None or most >= AT_CAP * cap or (waiting or 0.0) < 1:
        return False
    share = e.roofline("prompt_share")
    return (share if share is not None else e.prompt_rows or 0.0) < PROMPTS_RULE


def _waits_outside(e: Evidence) -> bool:
    """The queue stands in front of the engine: by its gauges, or, where it has none, by how long anything takes."""
    outside, in_flight = e.outside, e.own("effective_concurrency")
    if outside is not None and in_flight:
        return outside > max(OUTSIDE * in_flight, OUTSIDE_MIN)
    small = (e.http("connect_p50_ms") or 0.0) + (e.http("answer_p50_ms") or 0.0)
    wait = e.own("mean_ttft_ms")
    if wait is None and in_flight and e.own("achieved_rate"):  # none of them came yet: Little's law
        wait = 1000 * in_flight / (e.own("achieved_rate") or 1.0)
    return bool(wait and small >= max(SLOW_CONNECT_MS, min(SLOW_ANSWER * wait, SLOW_ANSWER_MS)))


def _kv_cache(e: Evidence) -> str | None:
    most, mean, preempted = e.server("kv_cache_max"), e.server("kv_cache_mean"), e.server("preemptions") or 0.0
    full = most is not None and most > KV_FULL and (mean is None or mean > KV_MEAN)
    reserved = _is_gated(e) and (most or 0.0) >= KV_RESERVED and not _waits_outside(e)
    if not preempted and not reserved and (not full or (e.at_cap and e.server("cap"))):
        return None
    told = [f"{_percent(most)} used"] if most is not None else []
    told += [f"{_count(preempted)} preemptions"] if preempted else []
    told += ["the rest promised to running sequences"] if reserved and not full else []
    return ", ".join(told)


def _hardware(e: Evidence) -> Limit | None:
    """PREFILL or DECODE when a larger batch gains nothing: by the roofline, else by what goes through the model. ENGINE
    when it should gain, does not, and leaves the GPU idle."""
    if _waits_outside(e) or _is_gated(e) or _kv_cache(e) is not None:
        return None
    gain, share = e.roofline("doubling_gain"), e.roofline("prompt_share")
    if gain is not None and share is not None and (e.server("running_mean") or e.decoding):  # else its batch is a guess
        stuck = gain < GAIN_MIN or not e.at_cap
        if stuck and _is_idle(e.roofline("least_share")):
            return Limit.ENGINE
        return (Limit.PREFILL if share >= PROMPTS_RULE else Limit.DECODE) if stuck else None
    if e.server("running_mean") is None and e.decoding is None:
        return None  # nothing came back in the window, and the server says nothing of it
    if e.prompt_busy is not None:
        # Prompts that took half of the engine's time would halve the pace of the tokens: where that is as ever, they
        # ran beside each other.
        mostly_prompts = e.prompt_busy >= PROMPTS_RULE and (e.slowed is None or e.slowed >= SLOWED)
    else:
        mostly_prompts = (e.rows or 0.0) >= ROWS_OF_A_RIDGE and (e.prompt_rows or 0.0) >= PROMPTS_NEARLY_ALL
    if mostly_prompts:
        return Limit.PREFILL
    if e.at_cap or e.server("running_mean") is None:
        return None
    if (e.server("waiting_mean") or 0.0) >= 1:  # places are free and yet some wait: for their prompts' turn
        return Limit.PREFILL if (e.prompt_rows or 0.0) >= PROMPTS_RULE else None
    return Limit.DECODE if (e.slowed or 0.0) >= SLOWED or e.server("cap") is not None else None


def _is_idle(least_share: float | None) -> bool:
    return least_share is not None and least_share < GPU_BUSY


def _engine(e: Evidence) -> str | None:
    if _hardware(e) is not Limit.ENGINE:
        return None
    used = (_percent(e.roofline(name) or 0.0) for name in ("mbu", "mfu"))
    return ", ".join([*_running(e), *_pace(e), "{} of its bandwidth and {} of its FLOP/s are used".format(*used)])


def _pace(e: Evidence) -> list[str]:
    floor_ms = e.roofline("decode_floor_ms")
    if floor_ms is None or e.token_ms is None:
        return []
    return [f"a token takes {_ms(e.token_ms)} where the GPU needs {_ms(floor_ms)}"]


def _running(e: Evidence) -> list[str]:
    """How many sequences run at once, and whether that is as many as may."""
    running, waiting = e.server("running_mean") or e.decoding, e.server("waiting_max")
    if e.at_cap and waiting:
        return [f"the batch is full with {_count(running)} running and {_count(waiting)} waiting"]
    return [] if running is None else [f"{_count(running)} running"]


def _prefill(e: Evidence) -> str | None:
    if _hardware(e) is not Limit.PREFILL:
        return None
    share, mfu, rows = e.roofline("prompt_share"), e.roofline("mfu"), e.rows
    if share is not None and mfu is not None:
        return f"{_percent(share)} of a token's least time is its prompt, {_percent(mfu)} of the GPU's FLOP/s are used"
    told = f"{_percent(e.prompt_rows or 0.0)} of the tokens computed are prompts"
    if e.prompt_busy is not None:
        return f"{told}, which alone would take {_percent(e.prompt_busy)} of the time"
    return told if rows is None else f"{told}, {_count(rows)} tokens in the time of one output token"


def _decode(e: Evidence) -> str | None:
    if _hardware(e) is not Limit.DECODE:
        return None
    mbu, gain, told = e.roofline("mbu"), e.roofline("doubling_gain"), _running(e)
    told += [] if mbu is None else [f"{_percent(mbu)} of the GPU's memory bandwidth is used"]
    if gain is not None:
        more = "no more" if gain < GAIN_NONE else f"{format_number(gain)} times the"
        told += [f"by the roofline twice the batch would give {more} tokens"]
    told += [] if e.slowed is None else [f"a token takes {format_number(e.slowed)} times as long as under a light load"]
    return ", ".join(told) or None


def _slots(e: Evidence) -> str | None:
    if _kv_cache(e) is not None or _hardware(e) is not None or _waits_outside(e):
        return None
    waiting, running = e.server("waiting_max"), e.server("running_max")
    if running is None:
        return _slots_from_outside(e)
    if not e.at_cap or not waiting:
        return None
    share = e.roofline("least_share")  # of a slow engine not even a batch that has room may give more
    return ", ".join([f"{_count(running)} running, {_count(waiting)} waiting", *(_pace(e) if _is_idle(share) else [])])


def _slots_from_outside(e: Evidence) -> str | None:
    """The pace of decoding is that of a light load and the wait is all before the first token: places are short."""
    decoding, slowed, in_flight = e.decoding, e.slowed, e.own("effective_concurrency")
    if decoding is None or in_flight is None or slowed is None or slowed >= SLOWED or in_flight < 2 * decoding:
        return None
    return f"about {_count(decoding)} of {_count(in_flight)} requests decode at once, as fast as under a light load"


def _completions(e: Evidence) -> str:
    achieved, offered = (format_number(e.own(name) or 0.0) for name in ("achieved_rate", "offered_rate"))
    return f"{achieved} of {offered} req/s completed"


RULES: tuple[tuple[Limit, Rule], ...] = (
    (Limit.CLIENT, _client),
    (Limit.ADMISSION, _admission),
    (Limit.NETWORK, _network),
    (Limit.HTTP, _front_end),
    (Limit.KV_CACHE, _kv_cache),
    (Limit.ENGINE, _engine),
    (Limit.PREFILL, _prefill),
    (Limit.DECODE, _decode),
    (Limit.SLOTS, _slots),
)


def _refused(point: Point) -> float:
    statuses = point.get("http_statuses") or {}
    requests = point.get("num_prompts") or 0
    return sum(statuses.get(each, 0) for each in _REFUSALS) / requests if requests else 0.0


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _product(per_s: float | None, ms: float | None) -> float | None:
    return None if per_s is None or ms is None else per_s * ms / 1000


def _count(value: float | None) -> str:
    return "?" if value is None else format_number(round(value)) if value >= 1 else format_number(value)


def _percent(share: float) -> str:
    return f"{format_number(100 * share)} %"


def _ms(ms: float) -> str:
    return format_duration(ms * NS_PER_MS)
