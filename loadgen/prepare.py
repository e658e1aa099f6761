"""Before the first request: start what has to be started, learn how to talk to the server, choose how to make prompts.

What comes out, a SetUp, is what the runs of a sweep share. Everything that can be refused is refused here.
"""

import contextlib
import os
import shlex
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import loadgen
from loadgen.analysis.efficiency import find_hardware
from loadgen.analysis.slo import Slo, slo_of
from loadgen.config import Settings
from loadgen.engines.asking import Asker
from loadgen.engines.catalog import SIMULATOR, find_engine
from loadgen.engines.introduction import introduce
from loadgen.engines.launch import Launched, launch_simulator
from loadgen.engines.probe import Protocol, measure_words, probe, tokenize_count
from loadgen.engines.rest import Rest
from loadgen.engines.starting import launch_engine, plan_engine
from loadgen.errors import BadInputError, EngineError
from loadgen.interrupts import Interrupts
from loadgen.records.folder import ENGINE_LOG
from loadgen.target import Target, parse_target
from loadgen.workers.local import LocalWorker
from loadgen.workload.calibration import Calibration, fit
from loadgen.workload.lengths import Lengths, load_lengths
from loadgen.workload.prompts import (
    POOL_MIN,
    Origin,
    PromptSource,
    recorded_prompts,
    single_token_words,
    token_id_prompts,
    tokenizer_prompts,
    word_prompts,
)
from loadgen.workload.tokenizer import Tokenizer, load_tokenizer
from loadgen.workload.words import WORDS

_REST_TOKENS = 8  # of a tiny request
_UNLIMITED_SEQS = 1_000_000  # what the simulator says when nothing limits its batch


@dataclass(slots=True)
class SetUp:
    """What runs share. `made(origin)` makes prompts of any numbers, `prompts(seed, lengths)` those of one run."""

    settings: Settings
    asker: Asker
    address: tuple[int, str, int]
    protocol: Protocol
    made: Callable[[Origin], PromptSource]
    worker: LocalWorker
    engine: Launched | None
    slo: Slo | None
    hardware: str | None  # GPU:MODEL, checked; None when nobody said
    prompt_seed: int
    told: dict[str, Any] = field(default_factory=dict)  # by a server that we did not start, of itself
    interrupts: Interrupts = field(default_factory=Interrupts)
    rest: Rest | None = None  # of a command that makes several runs

    def prompts(self, seed: int, lengths: Lengths) -> PromptSource:
        """Recorded texts where the dataset has them, else made to length."""
        return recorded_prompts(lengths.texts) if lengths.texts else self.made(seed)

    def is_interrupted(self) -> bool:
        """Whether Ctrl-C came."""
        return self.interrupts.count > 0

    def know_rest(self) -> Rest:
        """Learn what the idle server is like, before the first of several runs; once, since later it may be busy."""
        if self.rest is not None:
            return self.rest
        prompts = self.prompts(self.prompt_seed, _first_of(self.settings))
        settings, prompt = self.settings, prompts(0, _REST_TOKENS)
        body = self.protocol.body(prompt, 1, stream=settings.stream, extra=settings.extra_body)
        self.rest = Rest(self.asker, self.protocol.path, body)
        return self.rest

    @property
    def target(self) -> dict[str, Any]:
        """For the summary: where the load went."""
        engine = self.protocol.engine if self.engine is None else self.engine.about.get("engine", SIMULATOR)
        about = self.told if self.engine is None else self.engine.about
        return {
            "base_url": self.asker.target.root,
            "model": self.protocol.model,
            "engine": engine,
            "endpoint": self.protocol.endpoint,
            "prompts": "token ids" if self.protocol.vocabulary else "text",
            "warnings": self.protocol.warnings,
        } | {key: value for key, value in about.items() if key != "ready"}

    def in_words(self) -> str:
        """One line for people."""
        if self.engine is not None:
            return _engine_in_words(self.engine)
        engine = f" ({self.protocol.engine})" if self.protocol.engine else ""
        return f"{self.asker.target.root}, {self.protocol.model}{engine}"


def _engine_in_words(engine: Launched) -> str:
    about = engine.about
    if "engine" in about:
        cap = f", {about['max_num_seqs']} sequences at once" if about.get("max_num_seqs") else ""
        return f"{about['name']} {about.get('version', '')}".strip() + f": {about['model']}{cap}"
    place = f" on {about['gpu']}" if about.get("gpu") else ", its times fixed"
    seqs = int(about.get("max_num_seqs") or 0)
    batch = f", {seqs} sequences at once" if 0 < seqs < _UNLIMITED_SEQS else ""
    return f"the embedded simulator: {about.get('model')}{place}{batch}"


@contextmanager
def setting_up(settings: Settings, folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[SetUp]:
    """Start and probe; at the end stop everything and leave the engine's log in `folder`, if that was made."""
    slo = slo_of(settings.slo)
    target = parse_target(settings.base_url) if settings.base_url else None
    tokenizer = load_tokenizer(settings.tokenizer) if settings.tokenizer else None
    _first_of(settings)  # a bad dataset is said at once
    with ExitStack() as stack:
        worker = stack.enter_context(LocalWorker())  # starts while the server does
        engine = None
        if target is None:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadgen-")))
            stack.callback(_keep_log, logs / ENGINE_LOG, folder)
            engine = stack.enter_context(_start_engine(settings, logs / ENGINE_LOG, say))
            target = parse_target(engine.base_url)
            say(f"{'Using' if settings.engine else 'No --base-url: using'} {_engine_in_words(engine)}.")
        asker = Asker(target, _headers(settings), not settings.insecure, _proxy(settings, target))
        address = (0, target.host, target.port) if asker.proxy else asker.address()
        about = engine.about if engine is not None else {}
        protocol = probe(
            asker,
            model=settings.model or (about["model"] if "engine" in about else None),
            engine=about.get("engine"),
            endpoint=settings.endpoint,
            stream=settings.stream,
            extra=settings.extra_body,
        )
        told = introduce(asker, protocol.engine) if engine is None else {}
        protocol.context_max = protocol.context_max or (about | told).get("max_model_len")
        # An engine that we started has its tokenizer beside it; so has one that calls its model by a folder of ours.
        beside = Path(about.get("folder") or protocol.model)
        if tokenizer is None and not protocol.vocabulary and beside.is_absolute():
            with contextlib.suppress(BadInputError):
                tokenizer = load_tokenizer(beside)
        made = _made_prompts(settings.prefix_len, asker, protocol, tokenizer)
        for warning in protocol.warnings:
            say(f"Warning: {warning}")
        # Prompts that a living server has seen would meet its prefix cache: new ones, unless a seed is asked for.
        seed = settings.seed if settings.seed is not None else int.from_bytes(os.urandom(4), "little")
        hardware = _hardware(settings, protocol, engine)
        setup = SetUp(settings, asker, address, protocol, made, worker, engine, slo, hardware, seed, told)
        with setup.interrupts.caught():
            yield setup
        if engine is not None and engine.process.poll() is not None:
            say("Warning: the engine ended while it was measured; its log says more than the figures.")
        if engine is None and setup.rest is not None and (unrest := setup.rest.wait(0)):
            say(
                f"Warning: the server is still busy with requests that were let go: {unrest.seen}. Wait until it is at "
                "rest before you measure it again."
            )


def _keep_log(log: Path, folder: Path) -> None:
    if folder.is_dir() and log.exists():
        with contextlib.suppress(OSError):  # on a full disk the error that ended the run is the one to hear of
            shutil.copy(log, folder / ENGINE_LOG)


def _start_engine(settings: Settings, log: Path, say: Callable[[str], None]) -> Launched:
    try:
        name, *arguments = shlex.split(settings.engine or SIMULATOR)
    except ValueError as error:
        raise BadInputError(f"--engine: {error}.", "Quote it once, as one text.") from None
    if find_engine(name)[0] == SIMULATOR:
        return launch_simulator(["--seed", str(settings.seed or 0), *arguments], log)
    plan = plan_engine(name, arguments, say=say)
    try:
        return launch_engine(plan, log, say)
    except EngineError as error:
        if log.exists():  # there is no run folder yet: what it said would be lost
            kept = Path(tempfile.gettempdir()) / f"loadgen-{plan.script['engine']}-{os.getpid()}.log"
            shutil.copy(log, kept)
            raise EngineError(str(error), f"{error.hint}\n  All of its log: {kept}") from None
        raise


def _hardware(settings: Settings, protocol: Protocol, engine: Launched | None) -> str | None:
    """What the deployment runs on: as the user says, or as our own simulator pretends."""
    if settings.gpu:
        found = find_hardware(settings.gpu, protocol.model)
        model = settings.gpu.partition(":")[2]
        return f"{found.gpu.name}:{model or found.model.name}"
    if engine is not None and engine.about.get("gpu"):
        return f"{engine.about['gpu']}:{engine.about['model']}"
    return None


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


def _made_prompts(
    prefix: int, asker: Asker, protocol: Protocol, tokenizer: Tokenizer | None
) -> Callable[[Origin], PromptSource]:
    """The most exact way that this server allows, chosen once: ids, a tokenizer, `/tokenize`, or a fitted line."""
    if protocol.vocabulary and tokenizer is None:
        return lambda seed: _ids_less(token_id_prompts(seed, protocol.vocabulary, prefix), protocol.id_overhead)
    protocol.vocabulary = 0
    plain = word_prompts(0, Calibration())
    measured = measure_words(asker, protocol, lambda index, words: str(plain(index, words)))
    if not measured and tokenizer is None:
        protocol.warnings.append("The server does not count prompt tokens: prompt lengths are estimates.")
        return lambda seed: word_prompts(seed, Calibration(), prefix)
    if tokenizer is not None:
        overhead = measured[0][1] - tokenizer.count(str(plain(0, measured[0][0]))) if measured else 0
        return lambda seed: tokenizer_prompts(seed, tokenizer, overhead, prefix)
    line = fit([words for words, _ in measured], [tokens for _, tokens in measured])
    if _is_exact(measured):
        return lambda seed: word_prompts(seed, line, prefix)
    # Words of several tokens: with the server's help keep those that are one, and measure again.
    count = tokenize_count(asker, protocol)
    pool = single_token_words(count, WORDS) if count is not None else ()
    if len(pool) >= POOL_MIN:
        chosen = word_prompts(0, Calibration(), words=pool)
        measured = measure_words(asker, protocol, lambda index, words: str(chosen(index, words)))
        line = fit([words for words, _ in measured], [tokens for _, tokens in measured])
        if _is_exact(measured):
            return lambda seed: word_prompts(seed, line, prefix, pool)
    protocol.warnings.append("The prompts' words cost several tokens each: their lengths are near, not exact.")
    return lambda seed: word_prompts(seed, line, prefix, pool or WORDS)


def _is_exact(measured: list[tuple[int, int]]) -> bool:
    """One token a word on every probe: (words, tokens) on a line of slope 1."""
    return len({tokens - words for words, tokens in measured}) == 1


def _ids_less(source: PromptSource, overhead: int) -> PromptSource:
    """Room for the tokens that the server adds itself, a BOS for instance."""
    return lambda index, wanted: source(index, max(1, wanted - overhead))


def _first_of(settings: Settings) -> Lengths:
    """The first request, of whatever dataset comes first."""
    return lengths_of(settings, "s2s" if settings.dataset == "all" else settings.dataset, 1)


def lengths_of(settings: Settings, dataset: str, n: int) -> Lengths:
    """The first n requests of a dataset, as the settings ask for it."""
    return load_lengths(
        dataset,
        n=n,
        seed=settings.seed or 0,
        input_len=settings.input_len,
        output_len=settings.output_len,
        path=settings.dataset_path,
    )
