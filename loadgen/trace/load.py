"""`load_trace`: find out which format a file is, and read it. THE table of formats; a new one is a line.

The first match wins, so what is told by more stands before what is told by less.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import BadInputError
from loadgen.trace.assemble import Choices
from loadgen.trace.formats import (
    access,
    azure,
    bailian,
    burstgpt,
    gateways,
    goreplay,
    lengths,
    mooncake,
    otel,
    own,
    servegen,
    sharegpt,
    tracelab,
    vllm_log,
    weka,
)
from loadgen.trace.reading import Head, digest, guarded, head_of
from loadgen.trace.samples import sample, samples
from loadgen.trace.table import Survey, Trace


@dataclass(frozen=True, slots=True)
class Format:
    """What tells a format, and what reads it."""

    name: str
    matches: Callable[[Head], bool]
    load: Callable[[Head, Survey, Choices], Trace]


FORMATS = (
    Format("loadgen", own.matches, own.load),
    Format("Azure 2023 … 2025", azure.matches, azure.load),
    Format("Mooncake", mooncake.matches, mooncake.load),
    Format("Qwen-Bailian", bailian.matches, bailian.load),
    Format("BurstGPT 1 … 3", burstgpt.matches, burstgpt.load),
    Format("ServeGen", servegen.matches, servegen.load),
    Format("Weka", weka.matches, weka.load),
    Format("TraceLab", tracelab.matches, tracelab.load),
    Format("GoReplay", goreplay.matches, goreplay.load),
    Format("Envoy log", access.matches_envoy, access.load_envoy),
    Format("nginx log", access.matches_nginx, access.load_nginx),
    Format("vLLM log", vllm_log.matches, vllm_log.load),
    Format("LiteLLM, Langfuse, Helicone", gateways.matches, gateways.load),
    Format("OpenTelemetry", otel.matches, otel.load),
    Format("ShareGPT with times", sharegpt.matches, sharegpt.load),
    Format("table of lengths", lengths.matches, lengths.load),
)


def load_trace(
    path: Path,
    *,
    epoch: int | None = None,
    seed: int = 0,
    start_ns: int = 0,
    duration_ns: int | None = None,
    bytes_per_token: float | None = None,
) -> Trace:
    """The trace in a file or folder of any format in FORMATS, or a sample by its name; see Choices for the rest.

    Raises BadInputError with the line and the reason, for an unknown file with the formats there are."""
    path = Path(path)
    if not path.exists():
        path = sample(str(path)) or path
    if not path.exists():
        raise BadInputError(
            f"There is no trace {path}.",
            f"Give a file, or a sample: {', '.join(samples())}. `loadgen trace fetch` brings large ones.",
        )
    head = head_of(path)
    for each in FORMATS:
        if each.matches(head):
            survey = Survey(each.name, str(path), digest(path))
            choices = Choices(epoch, seed, start_ns, duration_ns, bytes_per_token)
            with _no_collections():
                return guarded(path, lambda: each.load(head, survey, choices))  # noqa: B023 (called at once)
    raise _unknown(head)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Millions of rows make no garbage in circles; looking for it takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _unknown(head: Head) -> BadInputError:
    known = ", ".join(each.name for each in FORMATS)
    if head.names or head.path.is_dir():
        return BadInputError(f"{head.path} is a folder of no format that is known.", f"Known: {known}.")
    if not head.data:
        return BadInputError(f"{head.path} is empty.", "Is it the right file, and whole?")
    shown = head.line[:70].decode(errors="replace")
    return BadInputError(f"{head.path}, line 1: '{shown}' begins no format that is known.", f"Known: {known}.")
