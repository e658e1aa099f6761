"""How far a point is from what its GPU could do: MFU, MBU, and the floor of the decode step it ran.

A model of the hardware, not a measurement of it: FLOPs and bytes are counted by the roofline for the tokens that were
really produced, at the batch and the context that were really there. What an engine moves beside that (prompts whose
weights are read apart from a decode step, activations that spill) is not counted, so MFU and MBU are lower bounds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.analysis.decoding import decoding_at_once, token_ms
from loadgen.errors import BadInputError
from loadgen.records.folder import read_json
from loadgen.roofline.bound import analyse
from loadgen.roofline.gpus import Gpu, find_gpu
from loadgen.roofline.step import decode, prefill
from loadgen.roofline.transformer import Transformer, find_transformer, from_config
from loadgen.units import NS_PER_MS, NS_PER_S, format_number


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a deployment consists of."""

    model: Transformer
    gpu: Gpu


def find_hardware(text: str, served_model: str) -> Hardware:
    """`GPU`, `GPU:MODEL` or `GPU:path/config.json`; the model is the served one where none is given.

    Raises BadInputError for a GPU or a model that is not known.
    """
    gpu, _, model = text.partition(":")
    if model.endswith(".json") or Path(model or "-").is_dir():
        path = Path(model) / "config.json" if Path(model).is_dir() else Path(model)
        return Hardware(from_config(read_json(path), path.parent.name), find_gpu(gpu))
    try:
        return Hardware(find_transformer(model or served_model), find_gpu(gpu))
    except BadInputError as error:
        if model or str(error).startswith("The GPU"):
            raise
        raise BadInputError(
            f"The shape of the served model '{served_model}' is not known.",
            f"Say which it is: --gpu {gpu}:llama-2-7b, or --gpu {gpu}:path/to/config.json.",
        ) from None


def efficiency(point: dict[str, Any], hardware: Hardware) -> dict[str, Any] | None:
    """The `efficiency` section of a point; None where nothing was produced.

    batch     sequences that decode together: the server's own mean, else those seen to decode, else those in flight
    mfu, mbu  FLOP/s and bytes/s that the produced tokens needed, over the GPU's limits (lower bounds)
    least_share    of the time: what prompts and decode steps would take at their floors
    token_ms       from one token of a sequence to its next
    prompt_share   of the least time that an output token costs, prompts and decode steps together
    doubling_gain  how many times the throughput at the least times, were the batch twice as large: near 2 where the
                   weights are what is read, near 1 where prompts or the KV cache are what takes the time
    """
    ran = _ran(point)
    if ran is None:
        return None
    batch, model, gpu = max(1, round(ran.running)), hardware.model, hardware.gpu
    step = analyse(model, decode(batch=batch, sequence=max(1, round(ran.context))), gpu)
    prompt = analyse(model, prefill(batch=1, sequence=max(1, round(ran.prompt_tokens))), gpu)
    steps_per_s = ran.tokens_per_s / batch
    mfu = (steps_per_s * step.compute_ns + ran.prompts_per_s * prompt.compute_ns) / NS_PER_S
    mbu = steps_per_s * step.memory_ns / NS_PER_S
    floor_ms = step.floor_ns / NS_PER_MS
    prompt_ns = prompt.compute_ns * ran.prompts_per_s / ran.tokens_per_s  # for each output token; so are the next two
    decode_ns, doubled_ns = step.floor_ns / batch, _doubled_ns(model, gpu, batch, ran.context)
    sentence = (
        f"{format_number(100 * mbu)} % of the {gpu.name}'s memory bandwidth, {format_number(100 * mfu)} % of its FLOP/s"
    )
    if ran.token_ms:
        sentence += (
            f"; a decode step of {batch} took {format_number(ran.token_ms)} ms,"
            f" {format_number(floor_ms)} ms at the least ({step.bound}-bound)"
        )
    return {
        "model": model.name,
        "gpu": gpu.name,
        "mfu": mfu,
        "mbu": mbu,
        "least_share": (prompt_ns + decode_ns) * ran.tokens_per_s / NS_PER_S,
        "bound": step.bound,
        "batch": batch,
        "context": ran.context,
        "token_ms": ran.token_ms,
        "decode_floor_ms": floor_ms,
        "prompt_share": prompt_ns / (prompt_ns + decode_ns),
        "doubling_gain": (prompt_ns + decode_ns) / (prompt_ns + doubled_ns),
        "tpot_over_floor": ran.token_ms / floor_ms if ran.token_ms else None,
        "sentence": sentence,
    }


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a point says that the GPU did; `context` is what a sequence attends to, in tokens."""

    running: float
    context: float
    tokens_per_s: float
    token_ms: float | None
    prompts_per_s: float
    prompt_tokens: float


def _ran(point: dict[str, Any]) -> _Ran | None:
    """Of all that was decoded in the window (`decoding`). Where answers were not streamed, of those that ended well and
    their lengths: in a steady window the same, in a run that is cut the short ones."""
    lengths, seen, tokens_per_s = point["lengths"], point.get("decoding") or {}, point["output_throughput"]
    server = point.get("server") or {}
    inputs, outputs = lengths.get("input_obtained_mean"), lengths.get("output_obtained_mean")
    inputs = inputs if inputs is not None else lengths.get("input_asked_mean") or lengths.get("input_planned_mean")
    outputs = outputs if outputs is not None else lengths.get("output_planned_mean")
    running = server.get("running_mean") or decoding_at_once(point) or point.get("effective_concurrency")
    if not tokens_per_s or not inputs or not outputs or not running:
        return None
    return _Ran(
        running=running,
        context=seen.get("context_mean") or inputs + outputs / 2,
        tokens_per_s=tokens_per_s,
        token_ms=token_ms(point),
        prompts_per_s=seen["prompts_per_s"] if seen else tokens_per_s / outputs,
        prompt_tokens=seen.get("prompt_tokens_mean") or inputs,
    )


def _doubled_ns(model: Transformer, gpu: Gpu, batch: int, sequence: float) -> float:
    """The least time of an output token in a batch twice as large."""
    return analyse(model, decode(batch=2 * batch, sequence=max(1, round(sequence))), gpu).floor_ns / (2 * batch)
