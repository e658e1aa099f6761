"""THE table of options: a flag, a TOML key and a keyword of the Python API are one line here.

The command line, the TOML reader, `docs/cli.md` and the settings in every report are made from it. It composes what
the stages ask for and decides nothing itself.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from loadgen import values
from loadgen.errors import BadInputError
from loadgen.units import NS_PER_S, parse_count, parse_duration_ns

RUN, SWEEP, REPORT, BATCH, SATURATE, REPLAY = "run", "sweep", "report", "batch", "saturate", "replay"
AUTO = "auto"  # --rates: a search places them
LOADS = frozenset((RUN, SWEEP, BATCH, SATURATE, REPLAY))


@dataclass(slots=True)
class Settings:
    """What the user asked for, parsed; the defaults of everything. Times are ns, 0 or None stand for "not given"."""

    base_url: str | None = None
    engine: str | None = None
    engines: list[str] = field(default_factory=list)  # several, one after another; then `engine` is None
    model: str | None = None
    endpoint: str = "auto"
    api_key: str | None = None
    header: dict[str, str] = field(default_factory=dict)
    extra_body: dict[str, Any] = field(default_factory=dict)
    insecure: bool = False
    timeout_ns: int = 600 * NS_PER_S
    transport: str = "socket"
    tokenizer: Path | None = None

    dataset: str = "s2s"
    dataset_path: Path | None = None
    input_len: str | None = None
    output_len: str | None = None
    prefix_len: int = 0

    rates: str = "1..64"
    request_rate: str | None = None
    batch_sizes: str = "1..32"
    repeats: int = 3
    speed: float = 1.0
    window: tuple[int, int] | None = None
    loop: int = 1
    overlay: int = 1
    sample_sessions: float = 1.0
    idle_cap_ns: int = 0
    dequantize_ns: int = 0
    mode: Literal["strict", "causal", "closed"] = "causal"
    rows: dict[str, str] = field(default_factory=dict)
    budget_ns: int = 600 * NS_PER_S
    precision: float = 0.03
    burstiness: float = 1.0
    max_concurrency: int = 0
    duration_ns: int = 0
    num_prompts: int = 0
    warmup: str = "auto"
    drain_ns: int = 30 * NS_PER_S
    seed: int | None = None

    slo: str | None = None
    fail_on: str | None = None
    gpu: str | None = None

    out: Path | None = None
    resume: Path | None = None
    save_vllm: Path | None = None
    json: bool = False
    quiet: bool = False

    @property
    def stream(self) -> bool:
        """Streamed answers, unless `--extra-body '{"stream": false}'` asks for whole ones."""
        return bool(self.extra_body.get("stream", True))


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `parse` turns text into the value of `field`; a switch has none."""

    flag: str
    field: str
    group: str
    help: str
    parse: Callable[[str], Any] | None = str
    metavar: str = ""
    commands: frozenset[str] = LOADS
    repeated: bool = False
    secret: bool = False

    @property
    def key(self) -> str:
        """The TOML key and the keyword: the flag's name with underscores."""
        return self.flag.removeprefix("--").replace("-", "_")


_MODES = ("strict", "causal", "closed")

_SWEEP, _RUN, _BATCH = frozenset((SWEEP,)), frozenset((RUN,)), frozenset((BATCH,))
_SATURATE, _REPLAY = frozenset((SATURATE,)), frozenset((REPLAY,))
_PACED = frozenset((RUN, SWEEP))  # requests come one after another, not in batches
_DRAWN = LOADS - _REPLAY  # their requests are drawn; those of a replay are in the trace
_SPACED = _PACED | _SATURATE  # the spacing of arrivals is ours to choose
_JUDGED = _SPACED | _REPLAY
_COMPARED = frozenset((SWEEP, BATCH, SATURATE))  # takes several engines
_SIZED = _DRAWN - _SATURATE  # its length is known beforehand

OPTIONS: tuple[Option, ...] = (
    Option("--base-url", "base_url", "target", "an OpenAI-compatible server, with or without /v1", metavar="URL"),
    Option("--engine", "engine", "target", "start it and use it: vllm, 'llama.cpp --model X', …; again: side by side"),
    Option("--model", "model", "target", "default: what /v1/models names"),
    Option(
        "--endpoint", "endpoint", "target", "chat, completions or auto", values.choice("auto", "chat", "completions")
    ),
    Option("--api-key", "api_key", "target", "default: $OPENAI_API_KEY", metavar="KEY", secret=True),
    Option("--header", "header", "target", "'Name: value', may be repeated", values.header, repeated=True, secret=True),
    Option(
        "--extra-body",
        "extra_body",
        "target",
        """JSON merged into every request; '{"stream": false}' works too""",
        values.json_object,
        "JSON",
    ),
    Option("--insecure", "insecure", "target", "do not verify the server's certificate", None),
    Option("--timeout", "timeout_ns", "target", "of one request (600s)", values.positive_duration, "TIME"),
    Option(
        "--transport",
        "transport",
        "target",
        "socket, or aiohttp: the reference, heeds HTTP_PROXY",
        values.choice("socket", "aiohttp"),
    ),
    Option(
        "--dataset",
        "dataset",
        "workload",
        "s2s, s2l, l2s, s16k, all, random, sharegpt, custom, or a file",
        commands=_DRAWN,
    ),
    Option("--dataset-path", "dataset_path", "workload", "file of sharegpt or custom", Path, "FILE", _DRAWN),
    Option("--input-len", "input_len", "workload", "512, uniform:100-900, normal:512,128, lognormal:512,0.6"),
    Option("--output-len", "output_len", "workload", "the same for the answers"),
    Option("--prefix-len", "prefix_len", "workload", "first tokens that all prompts share", parse_count, "N", _DRAWN),
    Option("--tokenizer", "tokenizer", "workload", "tokenizer.json or its folder, for exact lengths", Path, "PATH"),
    Option("--speed", "speed", "trace", "2: twice as fast, think times too", values.positive, "X", _REPLAY),
    Option("--window", "window", "trace", "10m..20m of the trace's time", values.window, "FROM..TO", _REPLAY),
    Option(
        "--mode",
        "mode",
        "trace",
        "strict, causal or closed: who waits for whom (causal)",
        values.choice(*_MODES),
        "MODE",
        _REPLAY,
    ),
    Option(
        "--sample-sessions",
        "sample_sessions",
        "trace",
        "10%: whole sessions, never rows",
        values.share,
        "SHARE",
        _REPLAY,
    ),
    Option(
        "--overlay", "overlay", "trace", "that many copies at once, prompts of their own", values.some, "N", _REPLAY
    ),
    Option("--loop", "loop", "trace", "that often, one after another, prompts of their own", values.some, "N", _REPLAY),
    Option(
        "--idle-cap", "idle_cap_ns", "trace", "no longer without arrivals", values.positive_duration, "TIME", _REPLAY
    ),
    Option(
        "--dequantize",
        "dequantize_ns",
        "trace",
        "spread arrivals over this tick",
        values.positive_duration,
        "TIME",
        _REPLAY,
    ),
    Option(
        "--rows",
        "rows",
        "trace",
        "zero=skip|one, overflow=skip|clamp|send, failed=skip|send",
        values.rows,
        "POLICY",
        _REPLAY,
    ),
    Option("--rates", "rates", "load", "auto, 1..64 (doubling), 1..64/12, 1..64+8, 1,4,9, inf", commands=_SWEEP),
    Option("--request-rate", "request_rate", "load", "8, ramp:1..32/60s, steps:1@30s,8@30s, inf", commands=_RUN),
    Option("--batch-sizes", "batch_sizes", "load", "1..32 (doubling), 1,4,16, all: all at once", commands=_BATCH),
    Option("--repeats", "repeats", "load", "how often the set is sent (3)", values.some, "N", _BATCH),
    Option(
        "--burstiness",
        "burstiness",
        "load",
        "gamma shape: 1 Poisson, <1 bursts, inf constant",
        values.number,
        "X",
        _SPACED,
    ),
    Option(
        "--max-concurrency",
        "max_concurrency",
        "load",
        "cap; without a rate: closed loop",
        values.some,
        "N",
        _PACED | _REPLAY,
    ),
    Option(
        "--max-concurrency", "max_concurrency", "load", "most requests in flight (4096)", values.some, "N", _SATURATE
    ),
    Option("--budget", "budget_ns", "load", "time to spend at most (10m)", values.positive_duration, "TIME", _SATURATE),
    Option(
        "--precision", "precision", "load", "how far off the answer may be (3%)", values.precision, "SHARE", _SATURATE
    ),
    Option(
        "--duration", "duration_ns", "load", "of a point (auto: 12 to 30 s)", values.positive_duration, "TIME", _PACED
    ),
    Option("--num-prompts", "num_prompts", "load", "requests instead of a duration", values.some, "N", _SIZED),
    Option("--warmup", "warmup", "load", "auto, none or a time", values.warmup, "TIME", _PACED),
    Option(
        "--drain",
        "drain_ns",
        "load",
        "how long to wait for the last answers (30s)",
        parse_duration_ns,
        "TIME",
        LOADS - _SATURATE,
    ),
    Option("--seed", "seed", "load", "same seed, same load; default: new prompts each time", values.whole, "N"),
    Option(
        "--slo", "slo", "judgement", "ttft_p99=500ms,tpot_p99=50ms, e2el<2s@99%, mlperf:llama2-70b", commands=_JUDGED
    ),
    Option(
        "--fail-on",
        "fail_on",
        "judgement",
        "slo: exit code 1 when it is not met",
        values.choice("slo"),
        commands=_PACED | _REPLAY,
    ),
    Option("--gpu", "gpu", "judgement", "GPU[:MODEL or config.json]: MFU, MBU and the floor of a step", metavar="GPU"),
    Option("--out", "out", "output", "folder to make (runs/<when>-<name>)", Path, "FOLDER"),
    Option("--resume", "resume", "output", "go on with the search in this folder", Path, "FOLDER", _SATURATE),
    Option("--save-vllm", "save_vllm", "output", "also write vLLM's result file", Path, "FILE", _RUN),
    Option("--json", "json", "output", "the summary on stdout, nothing else", None),
    Option("--quiet", "quiet", "output", "only the final table", None),
)


def options_of(command: str) -> list[Option]:
    return [option for option in OPTIONS if command in option.commands]


def make_settings(command: str, given: dict[str, Any], config: Path | None = None) -> Settings:
    """Settings from a TOML file and, stronger, from flags or keywords. `given` maps keys to text, or lists of it.

    Raises BadInputError that names the option.
    """
    known = {option.key: option for option in options_of(command)}
    settings = Settings()
    for source, told in ((f" in {config}", _read_toml(config) if config else {}), ("", given)):
        for key, value in told.items():
            if key not in known:
                raise BadInputError(f"Unknown option '{key}'{source}.", f"Known: {', '.join(sorted(known))}.")
            _assign(settings, known[key], value)
    _check(settings, command)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInputError(f"Cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not TOML: {error}.") from None


def _assign(settings: Settings, option: Option, value: Any) -> None:
    if option.parse is None:
        if not isinstance(value, bool):
            raise BadInputError(f"{option.flag} is a switch: '{value}' is not true or false.")
        setattr(settings, option.field, value)
        return
    if value == "":
        raise BadInputError(f"{option.flag} is empty.", "Leave it out, or give it a value.")
    try:
        if option.repeated:
            pairs = value.items() if isinstance(value, dict) else map(option.parse, map(str, _listed(value)))
            setattr(settings, option.field, dict(pairs))
        elif option.field == "engine":
            _assign_engines(settings, [str(each) for each in _listed(value)])
        elif option.field == "extra_body" and isinstance(value, dict):
            settings.extra_body = value
        else:
            setattr(settings, option.field, option.parse(str(value)))
    except BadInputError as error:
        raise BadInputError(f"{option.flag}: {error}", error.hint) from None


def _assign_engines(settings: Settings, named: list[str]) -> None:
    """One engine, or several to be measured one after another."""
    settings.engine, settings.engines = (named[0], []) if len(named) == 1 else (None, named)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check(settings: Settings, command: str) -> None:
    """What no single option can know."""
    if settings.engines and command not in _COMPARED:
        raise BadInputError(
            f"`loadgen {command}` takes one --engine.", f"Side by side: {', '.join(sorted(_COMPARED))}."
        )
    if settings.engines and settings.resume:
        raise BadInputError(
            "--resume goes on with the search of one --engine.",
            "Name the folder of that search, inside the comparison.",
        )
    if settings.base_url and (settings.engine or settings.engines):
        raise BadInputError("--base-url and --engine exclude each other.", "Either a running server or one to start.")
    if settings.fail_on == "slo" and not settings.slo:
        raise BadInputError("--fail-on slo needs --slo.", "Write for instance --slo ttft_p99=500ms.")
    if settings.duration_ns and settings.num_prompts:
        raise BadInputError("--duration and --num-prompts exclude each other.", "A run ends by one of them.")
    warmup_ns = 0 if settings.warmup in ("auto", "none") else parse_duration_ns(settings.warmup)
    if settings.duration_ns and warmup_ns >= settings.duration_ns:
        raise BadInputError("--warmup is as long as --duration: nothing would be left.", "Shorten it, or run longer.")
    if not settings.burstiness > 0:
        raise BadInputError("--burstiness must be above 0.", "1 is Poisson, 0.25 comes in bursts, inf is constant.")
    if command == RUN and settings.dataset == "all":
        raise BadInputError("A run has one dataset.", "Use `loadgen sweep --dataset all`, or name one.")
    if settings.dataset == "all" and (command == SATURATE or settings.rates == AUTO):
        raise BadInputError("A search has one dataset: each saturates elsewhere.", "Name one: --dataset s2l.")


def described(settings: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults, for the report: no secret, plain JSON types."""
    defaults, shown = Settings(), {}
    secret = {option.field for option in OPTIONS if option.secret}
    names = {option.field: option.key for option in OPTIONS}
    for each in fields(Settings):
        value = getattr(settings, each.name)
        if value == getattr(defaults, each.name):
            continue
        if each.name in secret:
            value = "(given, not written down)"
        elif each.name.endswith("_ns"):
            value = f"{value / NS_PER_S:g}s"
        elif isinstance(value, Path):
            value = str(value)
        elif isinstance(value, float) and value == float("inf"):
            value = "inf"
        shown[names[each.name]] = value
    return shown
