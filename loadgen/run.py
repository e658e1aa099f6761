"""One run: the place where the stages are joined. Draw the plan, save it, drive it, record it, judge it. One folder."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import loadgen
from loadgen.analysis.data import run_data
from loadgen.analysis.efficiency import efficiency, find_hardware
from loadgen.analysis.measurer import GAUGES
from loadgen.analysis.reasons import limits
from loadgen.analysis.saturation import is_saturated
from loadgen.analysis.slo import slo_of
from loadgen.analysis.summary import summarise
from loadgen.analysis.sweep import SCHEMA, answer
from loadgen.config import described
from loadgen.engines.probe import Protocol
from loadgen.engines.telemetry import Scraper
from loadgen.errors import BadInputError
from loadgen.exchange import Body, Done, Job, Looked, Part, Started, Tick
from loadgen.plan import Int64s, Plan, load_plan
from loadgen.prepare import SetUp, lengths_of
from loadgen.progress import Observer, Progress, ignore
from loadgen.records import folder as run_folder
from loadgen.records.overseer import Nobody, Overseer
from loadgen.records.recorder import Recorder
from loadgen.report.html import render_html
from loadgen.rng import generator
from loadgen.schedule.draw import draw_plan
from loadgen.units import NS_PER_S, parse_duration_ns
from loadgen.workload.lengths import Lengths
from loadgen.workload.prompts import PromptSource

DURATION_NS_DEFAULT = 30 * NS_PER_S
_VIEW_PERIOD_NS = NS_PER_S // 4
NOBODY = Nobody()


def run_once(
    setup: SetUp,
    folder: Path,
    *,
    rate: str | float | None,
    dataset: str,
    duration_ns: int,
    count: int = 0,
    point: tuple[int, int] = (1, 1),
    later_ns: int = 0,
    observer: Observer = ignore,
    unrest: str = "",
) -> dict[str, Any]:
    """Drive one plan to its end and return its point; the folder holds everything.

    `rate` is a number, the text of a curve, or None for a closed loop; `count` requests instead of a duration, 0 for
    none; `later_ns` is what the command has left to do after this run, for the time shown as remaining; `unrest` what
    shows that the server is not at rest, if it is not.
    """
    settings = setup.settings
    drawn: list[Lengths] = []

    def lengths(n: int) -> tuple[Int64s, Int64s, Int64s, tuple[str, ...]]:
        drawn.append(lengths_of(settings, dataset, max(n, 1)))
        chosen = drawn[-1]
        zeros = (chosen.input_tokens * 0)[:n]
        return chosen.input_tokens[:n], chosen.output_tokens[:n], zeros, (chosen.label,)

    seed = int(generator(settings.seed or 0, f"run.{dataset}.{rate}").integers(1 << 31))
    plan = draw_plan(
        lengths=lengths,
        rate=rate,
        burstiness=settings.burstiness,
        max_concurrency=settings.max_concurrency,
        duration_ns=0 if count else duration_ns,
        count=count,
        seed=seed,
        drain_ns=settings.drain_ns,
    )
    prompt_seed = int(generator(setup.prompt_seed, f"prompts.{dataset}.{rate}.{point[0]}").integers(1 << 31))
    prompts = setup.prompts(prompt_seed, drawn[0])
    return drive(
        setup,
        folder,
        plan,
        prompts,
        rate=rate,
        dataset=dataset,
        duration_ns=duration_ns,
        point=point,
        later_ns=later_ns,
        observer=observer,
        unrest=unrest,
    )


def drive(
    setup: SetUp,
    folder: Path,
    plan: Plan,
    prompts: PromptSource,
    *,
    rate: str | float | None,
    dataset: str,
    duration_ns: int,
    point: tuple[int, int] = (1, 1),
    later_ns: int = 0,
    observer: Observer = ignore,
    overseer: Overseer = NOBODY,
    replayed: dict[str, Any] | None = None,
    unrest: str = "",
) -> dict[str, Any]:
    """Save a plan, send it, record and judge it; the arguments as of `run_once`, whose second half this is.

    `replayed` says which trace the plan comes from.
    """
    settings = setup.settings
    started = time.time()
    stream = settings.stream
    if replayed is None:  # a replay has its own policy for rows that are too long
        _check_context(plan, setup.protocol, dataset)
    run_folder.create(folder)
    plan.save(folder / run_folder.PLAN)
    manifest = _manifest(setup, plan, rate, dataset, started) | ({"replay": replayed} if replayed else {})
    manifest |= {"unrest": unrest} if unrest else {}
    run_folder.write_json(folder / run_folder.MANIFEST, manifest)

    def bodies() -> Iterator[Body]:
        inputs, outputs = plan.input_tokens.tolist(), plan.output_tokens.tolist()
        for index, (wanted, asked) in enumerate(zip(inputs, outputs, strict=True)):
            prompt = prompts(index, wanted)
            yield Body(index, setup.protocol.body(prompt, asked, stream=stream, extra=settings.extra_body))

    recorder = Recorder(
        folder,
        plan,
        stream=stream,
        tap=overseer.ended,
        lengths_asked=setup.protocol.asks_lengths(settings.extra_body),
        context_max=setup.protocol.context_max,
        shares_events=setup.protocol.shares_events,
    )
    watch = _Watch(setup, plan, recorder, observer, overseer, rate, dataset, duration_ns, point, later_ns)
    waits = bool((plan.after >= 0).any() or plan.joins)
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
        barriers=list(plan.barriers),
        after=plan.after.tobytes() if waits else b"",
        think_ns=plan.think_ns.tobytes() if waits else b"",
        joins=list(plan.joins),
    )
    ended_ns = 0
    try:
        ended_ns = setup.worker.run(job, bodies(), watch.take, watch.between).time_ns
    finally:
        watch.scraper.stop()
        recorder.close(max(ended_ns, recorder.last_tick.time_ns))
    manifest |= {"clean": True, "cut": False, "interrupted": setup.is_interrupted(), "ended_ns": ended_ns}
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
        "stream": setup.settings.stream,
        "seed": setup.settings.seed,
        "prompt_seed": setup.prompt_seed,
        "plan": {"requests": len(plan), "digest": plan.digest} | plan.shape,
        "slo": setup.slo.as_dict() if setup.slo else None,
        "hardware": setup.hardware,
        "settings": described(setup.settings),
        "machine": {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()},
        "started": in_utc(started),
        "clean": False,
        "cut": True,
    }


def in_utc(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, in whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def started_of(run: Path) -> str:
    """When the run in that folder began."""
    return str(run_folder.read_json(run / run_folder.MANIFEST)["started"])


def header_of(setup: SetUp, started: str) -> dict[str, Any]:
    """What the summary of a folder of runs says beside its points."""
    return {
        "tool": {"name": "loadgen", "version": loadgen.__version__},
        "command": command_line(),
        "target": setup.target,
        "dataset": setup.settings.dataset,
        "seed": setup.settings.seed,
        "started": started,
        "slo": setup.slo.as_dict() if setup.slo else None,
        "settings": described(setup.settings),
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
        overseer: Overseer,
        rate: str | float | None,
        dataset: str,
        duration_ns: int,
        point: tuple[int, int],
        later_ns: int,
    ) -> None:
        self._setup, self._plan, self._recorder, self._observer = setup, plan, recorder, observer
        self._overseer = overseer
        self._looking = False
        self._abandon_at_ns = float("inf")
        self._interrupts_seen = setup.interrupts.count
        self._later_ns = later_ns
        self._start_ns = time.monotonic_ns()
        self._started = False
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
            planned=len(plan) if overseer is NOBODY else 0,  # else nobody knows how many it will be
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
            self._start_ns, self._started = message.start_ns, True
        elif isinstance(message, Looked):
            self._looking = False
            grace_ns = self._overseer.look(message, self._recorder.begun())
            if grace_ns is not None and not self.stopped_ns:
                self._stop(now=grace_ns == 0)
                self._abandon_at_ns = self.stopped_ns + grace_ns

    def between(self) -> None:
        while not self.scraper.readings.empty():
            at_ns, readings = self.scraper.readings.get()
            self._recorder.server(at_ns - self._start_ns, readings)
        elapsed_ns = time.monotonic_ns() - self._start_ns
        count = self._setup.interrupts.count
        if count > self._interrupts_seen:
            self._stop(now=count > 1)
            self._interrupts_seen = count
        elif elapsed_ns >= self._abandon_at_ns:
            self._stop(now=True)
            self._abandon_at_ns = float("inf")
        elif self._started and not (self._looking or self.stopped_ns) and elapsed_ns >= self._overseer.next_look_ns:
            self._looking = True
            self._setup.worker.look()
        if time.monotonic_ns() - self._shown_ns > _VIEW_PERIOD_NS:
            draining = self.stopped_ns or elapsed_ns > self._progress.planned_ns
            self.show("draining" if draining else "measuring")

    def _stop(self, *, now: bool) -> None:
        """The moment is taken before the word goes out: what is due after it may be sent, and must not be missed."""
        self.stopped_ns = self.stopped_ns or max(1, time.monotonic_ns() - self._start_ns)
        self._setup.worker.stop(now=now)

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
        progress.lag_max_ms = readings.get("lag_max_ns", 0) / 1e6
        progress.completed, progress.failed = recent.completed, recent.failed
        rate, tokens, ttft_ms, tpot_ms = recent.figures(elapsed_ns)
        progress.achieved_rate, progress.output_throughput = rate, tokens
        progress.ttft_ms, progress.tpot_ms = ttft_ms, tpot_ms
        progress.errors = dict(recent.errors)
        progress.note = self._overseer.note
        self._observer(progress)


def write_reports(folder: Path, plan: Plan | None = None, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    """(Re)make everything derived in a run folder: summary, Parquet, report. Works on a cut run, and says so."""
    manifest = manifest or run_folder.read_json(folder / run_folder.MANIFEST)
    plan = plan or load_plan(folder / run_folder.PLAN)
    slo_text = (manifest.get("slo") or {}).get("text")
    data = run_data(run_folder.read_records(folder), plan, run_folder.read_telemetry(folder, GAUGES), manifest)
    point = summarise(data, slo_of(slo_text)) | {"dataset": manifest.get("dataset")}
    del data  # 0.3 kB a request, and the Parquet file needs room
    if manifest.get("hardware"):
        point["efficiency"] = efficiency(point, find_hardware(manifest["hardware"], ""))
    if is_saturated(point):
        point["findings"] = point["findings"] + limits(point, engine=(manifest.get("target") or {}).get("engine"))
    kept = ("schema", "kind", "tool", "command", "target", "dataset", "seed", "started", "slo", "settings", "plan")
    summary = {key: manifest.get(key) for key in kept} | {"points": [point], "saturation": None}
    summary["cut"] = bool(manifest.get("cut")) or bool(manifest.get("interrupted"))
    summary["answer"] = answer(summary)
    run_folder.write_json(folder / run_folder.SUMMARY, summary)
    run_folder.to_parquet(folder)
    (folder / run_folder.REPORT).write_text(render_html(summary))
    return summary
