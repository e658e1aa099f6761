"""One run: the place where the stages are joined. Draw the plan, save it, drive it, record it, judge it.

`setting_up` makes what the runs of a sweep share (server, load process, protocol); `run_once` is one folder.
"""

import os
import platform
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import loadgen
from loadgen.analysis.data import run_data
from loadgen.analysis.slo import Slo, parse_slo
from loadgen.analysis.summary import summarise
from loadgen.analysis.sweep import SCHEMA, answer
from loadgen.config import Settings, described
from loadgen.engines.asking import Asker
from loadgen.engines.launch import Launched, launch_simulator
from loadgen.engines.probe import Protocol, measure_words, probe, tokenize_count
from loadgen.engines.telemetry import Scraper
from loadgen.errors import BadInputError
from loadgen.exchange import Body, Done, Job, Part, Started, Tick
from loadgen.plan import Int64s, Plan, load_plan
from loadgen.progress import Observer, Progress, ignore
from loadgen.records import folder as run_folder
from loadgen.records.recorder import Recorder
from loadgen.report.html import render_html
from loadgen.rng import generator
from loadgen.schedule.draw import draw_plan
from loadgen.target import Target, parse_target
from loadgen.units import NS_PER_S, parse_duration_ns
from loadgen.workers.local import LocalWorker
from loadgen.workload.calibration import Calibration, fit
from loadgen.workload.lengths import Lengths, load_lengths
from loadgen.workload.prompts import (
    PromptSource,
    counted_prompts,
    recorded_prompts,
    token_id_prompts,
    tokenizer_prompts,
    word_prompts,
)
from loadgen.workload.tokenizer import Tokenizer, load_tokenizer

DURATION_NS_DEFAULT = 30 * NS_PER_S
_VOCABULARY = 30_000  # ids below this exist in every model of the field
_VIEW_PERIOD_NS = NS_PER_S // 4


@dataclass(slots=True)
class Interrupts:
    """Ctrl-C: once, stop sending and drain; twice, leave now; what was measured is on disk."""

    count: int = 0

    @contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        def note(_: int, __: FrameType | None) -> None:
            self.count += 1
            if self.count > 2:
                raise KeyboardInterrupt

        before = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


@dataclass(slots=True)
class SetUp:
    """What runs share. `prompts(seed, lengths)` makes the prompt source of one run."""

    settings: Settings
    asker: Asker
    address: tuple[int, str, int]
    protocol: Protocol
    prompts: Callable[[int, Lengths], PromptSource]
    worker: LocalWorker
    engine: Launched | None
    slo: Slo | None
    prompt_seed: int
    interrupts: Interrupts = field(default_factory=Interrupts)

    @property
    def target(self) -> dict[str, Any]:
        """For the summary: where the load went."""
        engine = "simulator" if self.engine is not None else self.protocol.engine
        about = (
            {} if self.engine is None else {key: value for key, value in self.engine.about.items() if key != "ready"}
        )
        return {
            "base_url": self.asker.target.root,
            "model": self.protocol.model,
            "engine": engine,
            "endpoint": self.protocol.endpoint,
            "prompts": "token ids" if self.protocol.token_ids else "text",
            "warnings": self.protocol.warnings,
        } | about

    def in_words(self) -> str:
        """One line for people."""
        if self.engine is not None:
            return _engine_in_words(self.engine)
        engine = f" ({self.protocol.engine})" if self.protocol.engine else ""
        return f"{self.asker.target.root}, {self.protocol.model}{engine}"


def _engine_in_words(engine: Launched) -> str:
    about = engine.about
    batch = f"{about.get('max_num_seqs')} sequences at once"
    return f"the embedded simulator: {about.get('model')} on {about.get('gpu')}, {batch}"


@contextmanager
def setting_up(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Iterator[SetUp]:
    """Start what has to be started, find out how to talk to the server, stop everything at the end."""
    slo = parse_slo(settings.slo) if settings.slo else None
    target = parse_target(settings.base_url) if settings.base_url else None
    tokenizer = load_tokenizer(settings.tokenizer) if settings.tokenizer else None
    _lengths(settings, settings.dataset if settings.dataset != "all" else "s2s", 1)  # a bad dataset is said at once
    with ExitStack() as stack:
        worker = stack.enter_context(LocalWorker())  # starts while the server does
        engine = None
        if target is None:
            engine = stack.enter_context(_start_engine(settings))
            target = parse_target(engine.base_url)
            say(f"{'Using' if settings.engine else 'No --base-url: using'} {_engine_in_words(engine)}.")
        asker = Asker(target, _headers(settings), not settings.insecure, _proxy(settings, target))
        address = (0, target.host, target.port) if asker.proxy else asker.address()
        protocol = probe(
            asker,
            model=settings.model,
            endpoint=settings.endpoint,
            stream=not settings.no_stream,
            extra=settings.extra_body,
        )
        prompts = _prompt_maker(settings, asker, protocol, tokenizer)
        for warning in protocol.warnings:
            say(f"Warning: {warning}")
        # Prompts that a living server has seen before would meet its prefix cache: new ones, unless a seed is asked for.
        seed = settings.seed if settings.seed is not None else int.from_bytes(os.urandom(4), "little")
        setup = SetUp(settings, asker, address, protocol, prompts, worker, engine, slo, seed)
        with setup.interrupts.caught():
            yield setup


def _start_engine(settings: Settings) -> Launched:
    import shlex
    import tempfile

    try:
        name, *arguments = shlex.split(settings.engine or "simulator")
    except ValueError as error:
        raise BadInputError(f"--engine: {error}.", "Quote it once, as one text.") from None
    if name != "simulator":
        raise BadInputError(f"There is no engine '{name}'.", "Engines: simulator.")
    log = Path(tempfile.gettempdir()) / f"loadgen-simulator-{os.getpid()}.log"
    return launch_simulator(["--seed", str(settings.seed or 0), *arguments], log)


def _proxy(settings: Settings, target: Target) -> str:
    """The environment's proxy for this host, as every HTTP client finds it; only aiohttp goes through one."""
    if settings.transport != "aiohttp" or urllib.request.proxy_bypass(target.host):
        return ""
    return urllib.request.getproxies().get(target.scheme, "")


def _headers(settings: Settings) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "*/*", "User-Agent": f"loadgen/{loadgen.__version__}"}
    key = settings.api_key or os.environ.get("OPENAI_API_KEY")
    if key:
        if any(c in key for c in "\r\n"):
            raise BadInputError("The API key has a line break in it.", "Check --api-key or OPENAI_API_KEY.")
        headers["Authorization"] = f"Bearer {key}"
    return headers | settings.header


def _prompt_maker(
    settings: Settings, asker: Asker, protocol: Protocol, tokenizer: Tokenizer | None
) -> Callable[[int, Lengths], PromptSource]:
    """Choose, once, how prompts of a wanted length are made for this server; the best way that it allows."""
    prefix = settings.prefix_len
    if protocol.token_ids and tokenizer is None:
        overhead = protocol.id_overhead

        def ids(seed: int) -> PromptSource:
            source = token_id_prompts(seed, _VOCABULARY, prefix)
            return lambda index, wanted: source(index, max(1, wanted - overhead))

        return lambda seed, lengths: recorded_prompts(lengths.texts) if lengths.texts else ids(seed)
    protocol.token_ids = False
    calibration = Calibration()
    words = word_prompts(0, calibration)
    found = measure_words(asker, protocol, lambda index, n: str(words(index, n)))
    if len(found) > 1:
        calibration = fit([n for n, _ in found], [tokens for _, tokens in found])
    elif tokenizer is None:
        protocol.warnings.append("The server does not count prompt tokens: prompt lengths are estimates.")
    if tokenizer is not None:
        # What the server adds to a text whose tokens we know: BOS, chat template.
        overhead = round(found[0][1] - tokenizer.count(str(words(0, found[0][0])))) if found else 0
        made: Callable[[int], PromptSource] = lambda seed: tokenizer_prompts(seed, tokenizer, overhead, prefix)  # noqa: E731
        return lambda seed, lengths: recorded_prompts(lengths.texts) if lengths.texts else made(seed)
    count = None if _words_are_exact(found, calibration) else tokenize_count(asker, protocol)
    if count is not None and found:
        extra = found[0][1] - count(str(words(0, found[0][0])))
        counted = count
        made = lambda seed: counted_prompts(seed, counted, extra, prefix)  # noqa: E731
    else:
        made = lambda seed: word_prompts(seed, calibration, prefix)  # noqa: E731
    return lambda seed, lengths: recorded_prompts(lengths.texts) if lengths.texts else made(seed)


def _words_are_exact(found: list[tuple[int, int]], calibration: Calibration) -> bool:
    """One token a word on every probe: nothing is left to count."""
    return (
        bool(found)
        and all(round(calibration.overhead + calibration.tokens_per_word * words) == tokens for words, tokens in found)
        and abs(calibration.tokens_per_word - 1) < 1e-6
    )


def _lengths(settings: Settings, dataset: str, n: int) -> Lengths:
    return load_lengths(
        dataset,
        n=n,
        seed=settings.seed or 0,
        input_len=settings.input_len,
        output_len=settings.output_len,
        path=settings.dataset_path,
    )


def run_once(
    setup: SetUp,
    folder: Path,
    *,
    rate: str | float | None,
    dataset: str,
    duration_ns: int,
    point: tuple[int, int] = (1, 1),
    later_ns: int = 0,
    observer: Observer = ignore,
) -> dict[str, Any]:
    """Drive one plan to its end and return its point; the folder holds everything.

    `rate` is a number, the text of a curve, or None for a closed loop; `later_ns` is what the command has left to do
    after this run, for the time shown as remaining.
    """
    settings = setup.settings
    started = time.time()
    drawn: list[Lengths] = []

    def lengths(n: int) -> tuple[Int64s, Int64s, Int64s, tuple[str, ...]]:
        drawn.append(_lengths(settings, dataset, max(n, 1)))
        chosen = drawn[-1]
        zeros = (chosen.input_tokens * 0)[:n]
        return chosen.input_tokens[:n], chosen.output_tokens[:n], zeros, (chosen.label,)

    seed = int(generator(settings.seed or 0, f"run.{dataset}.{rate}").integers(1 << 31))
    plan = draw_plan(
        lengths=lengths,
        rate=rate,
        burstiness=settings.burstiness,
        max_concurrency=settings.max_concurrency,
        duration_ns=0 if settings.num_prompts else duration_ns,
        count=settings.num_prompts,
        seed=seed,
        drain_ns=settings.drain_ns,
    )
    _check_context(plan, setup.protocol, dataset)
    run_folder.create(folder)
    plan.save(folder / run_folder.PLAN)
    manifest = _manifest(setup, plan, rate, dataset, started)
    run_folder.write_json(folder / run_folder.MANIFEST, manifest)

    prompt_seed = int(generator(setup.prompt_seed, f"prompts.{dataset}.{rate}.{point[0]}").integers(1 << 31))
    prompts = setup.prompts(prompt_seed, drawn[0])
    stream = not settings.no_stream

    def bodies() -> Iterator[Body]:
        inputs, outputs = plan.input_tokens.tolist(), plan.output_tokens.tolist()
        for index, (wanted, asked) in enumerate(zip(inputs, outputs, strict=True)):
            prompt = prompts(index, wanted)
            yield Body(index, setup.protocol.body(prompt, asked, stream=stream, extra=settings.extra_body))

    recorder = Recorder(folder, plan, stream=stream)
    watch = _Watch(setup, plan, recorder, observer, rate, dataset, duration_ns, point, later_ns)
    job = Job(
        due_ns=plan.due_ns.tobytes(),
        in_flight_max=plan.in_flight_max,
        stop_ns=plan.stop_ns,
        drain_ns=plan.drain_ns,
        transport=settings.transport,
        url=setup.asker.target.url(setup.protocol.path),
        address=setup.address,
        proxy=setup.asker.proxy,
        headers=setup.asker.headers,
        verify_tls=setup.asker.verify_tls,
        timeout_ns=settings.timeout_ns,
    )
    ended_ns = 0
    try:
        ended_ns = setup.worker.run(job, bodies(), watch.take, watch.between).time_ns
    finally:
        watch.scraper.stop()
        recorder.close(max(ended_ns, recorder.last_tick.time_ns))
    manifest |= {"clean": True, "cut": False, "interrupted": setup.interrupts.count > 0, "ended_ns": ended_ns}
    if watch.stopped_ns:
        manifest["stop_ns"] = watch.stopped_ns
    run_folder.write_json(folder / run_folder.MANIFEST, manifest)
    watch.show("analysing")
    return write_reports(folder, plan=plan, manifest=manifest)["points"][0]  # type: ignore[no-any-return]


def _check_context(plan: Plan, protocol: Protocol, dataset: str) -> None:
    if protocol.context_max is None or not len(plan):
        return
    longest = int((plan.input_tokens + plan.output_tokens).max())
    if longest > protocol.context_max:
        raise BadInputError(
            f"{dataset} has requests of up to {longest:,} tokens; {protocol.model} takes {protocol.context_max:,}.",
            "Start the server with a longer context, or shorten the requests with --input-len and --output-len.",
        )


def _manifest(setup: SetUp, plan: Plan, rate: str | float | None, dataset: str, started: float) -> dict[str, Any]:
    shown_rate = "inf" if rate in ("inf", float("inf")) else rate
    return {
        "schema": SCHEMA,
        "kind": "run",
        "tool": {"name": "loadgen", "version": loadgen.__version__},
        "command": command_line(),
        "target": setup.target,
        "dataset": dataset,
        "request_rate": shown_rate,
        "warmup": setup.settings.warmup
        if setup.settings.warmup in ("auto", "none")
        else parse_duration_ns(setup.settings.warmup) / NS_PER_S,
        "stream": not setup.settings.no_stream,
        "seed": setup.settings.seed,
        "prompt_seed": setup.prompt_seed,
        "plan": {"requests": len(plan), "digest": plan.digest} | plan.shape,
        "slo": setup.slo.as_dict() if setup.slo else None,
        "settings": described(setup.settings),
        "machine": {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()},
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "clean": False,
        "cut": True,
    }


def command_line() -> str:
    """What the user typed, with secrets blotted out."""
    words, hide = ["loadgen"], False
    for word in sys.argv[1:]:
        flag, equals, _ = word.partition("=")
        secret = flag in ("--api-key", "--header")
        words.append("***" if hide else f"{flag}=***" if secret and equals else word)
        hide = secret and not equals
    return " ".join(words)


class _Watch:
    """What the main thread does while the load runs: record, scrape, show, heed Ctrl-C."""

    def __init__(
        self,
        setup: SetUp,
        plan: Plan,
        recorder: Recorder,
        observer: Observer,
        rate: str | float | None,
        dataset: str,
        duration_ns: int,
        point: tuple[int, int],
        later_ns: int,
    ) -> None:
        self._setup, self._plan, self._recorder, self._observer = setup, plan, recorder, observer
        self._interrupts_seen = setup.interrupts.count
        self._later_ns = later_ns
        self._start_ns = time.monotonic_ns()
        self._shown_ns = 0
        self.stopped_ns = 0
        last_due_ns = int(plan.due_ns[-1]) if len(plan) else 0
        self._progress = Progress(
            target=setup.in_words(),
            dataset=dataset,
            point=point[0],
            points=point[1],
            request_rate=rate if isinstance(rate, float) else None,
            planned_ns=plan.stop_ns or last_due_ns or duration_ns,
            planned=len(plan),
        )
        self.scraper = Scraper(setup.asker)
        self.scraper.start()

    def take(self, message: object) -> None:
        if isinstance(message, Part):
            self._recorder.part(message)
        elif isinstance(message, Done):
            self._recorder.done(message)
        elif isinstance(message, Tick):
            self._recorder.tick(message)
        elif isinstance(message, Started):
            self._start_ns = message.start_ns

    def between(self) -> None:
        while not self.scraper.readings.empty():
            at_ns, readings = self.scraper.readings.get()
            self._recorder.server(at_ns - self._start_ns, readings)
        count = self._setup.interrupts.count
        if count > self._interrupts_seen:
            self._setup.worker.stop(now=count > 1)
            self.stopped_ns = self.stopped_ns or max(1, time.monotonic_ns() - self._start_ns)
            self._interrupts_seen = count
        if time.monotonic_ns() - self._shown_ns > _VIEW_PERIOD_NS:
            elapsed_ns = time.monotonic_ns() - self._start_ns
            draining = self.stopped_ns or elapsed_ns > self._progress.planned_ns
            self.show("draining" if draining else "measuring")

    def show(self, phase: str) -> None:
        """Tell the observer."""
        self._shown_ns = time.monotonic_ns()
        progress, readings, recent = self._progress, self._recorder.last_tick.readings, self._recorder.recent
        elapsed_ns = max(0, self._shown_ns - self._start_ns)
        progress.phase = phase
        progress.elapsed_ns = elapsed_ns
        progress.remaining_ns = max(0, progress.planned_ns - elapsed_ns) + self._later_ns
        progress.issued = int(readings.get("issued", 0))
        progress.in_flight = int(readings.get("in_flight", 0))
        progress.lag_p99_ms = readings.get("lag_max_ns", 0) / 1e6
        progress.completed, progress.failed = recent.completed, recent.failed
        rate, tokens, ttft_ms, tpot_ms = recent.figures(elapsed_ns)
        progress.achieved_rate, progress.output_throughput = rate, tokens
        progress.ttft_ms, progress.tpot_ms = ttft_ms, tpot_ms
        progress.errors = dict(recent.errors)
        self._observer(progress)


def write_reports(folder: Path, plan: Plan | None = None, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    """(Re)make everything derived in a run folder: summary, Parquet, report. Works on a cut run, and says so."""
    manifest = manifest or run_folder.read_json(folder / run_folder.MANIFEST)
    plan = plan or load_plan(folder / run_folder.PLAN)
    slo_text = (manifest.get("slo") or {}).get("text")
    data = run_data(run_folder.read_records(folder), plan, run_folder.read_telemetry(folder), manifest)
    point = summarise(data, parse_slo(slo_text) if slo_text else None) | {"dataset": manifest.get("dataset")}
    kept = ("schema", "kind", "tool", "command", "target", "dataset", "seed", "started", "slo", "settings", "plan")
    summary = {key: manifest.get(key) for key in kept} | {"points": [point], "saturation": None}
    summary["cut"] = bool(manifest.get("cut")) or bool(manifest.get("interrupted"))
    summary["answer"] = answer(summary)
    run_folder.write_json(folder / run_folder.SUMMARY, summary)
    run_folder.to_parquet(folder)
    (folder / run_folder.REPORT).write_text(render_html(summary))
    return summary
