"""How long one step takes on a GPU: the roofline of every operation, an efficiency per regime, and what a host adds.

    operation = max(FLOPs / (peak · compute efficiency), bytes / (bandwidth · memory efficiency)) + kernel latency
    step      = Σ operations + host overhead + host overhead per sequence · sequences

FLOPs and bytes are those of loadgen.roofline's table, evaluated once for each number of rows that occurs, so a step
costs a few look-ups. Keys and values are read once per sequence, weights once per step, which is why batching pays.
How it was fitted: docs/simulator.md. Pure: a step in, nanoseconds out.
"""

from dataclasses import dataclass, replace

from loadgen.roofline.gpus import Gpu
from loadgen.roofline.operations import OPERATIONS, Operation
from loadgen.roofline.step import Symbols, prefill, symbols
from loadgen.roofline.transformer import Transformer
from loadgen.simulator.batching import Step
from loadgen.units import NS_PER_US

_ATTENTION, _HEAD = "attention", "lm head"  # the operations that do not go with the rows of a step


@dataclass(frozen=True, slots=True)
class Costs:
    """What a deployment reaches of its GPU's limits, and what every kernel, step and sequence of a step adds in ns."""

    compute_efficiency: float = 1.0
    memory_efficiency: float = 1.0
    kernel_ns: float = 0.0
    host_ns: float = 0.0
    host_sequence_ns: float = 0.0


# Fitted to kernels measured on the A100 and the H100; a card of the same generation is taken to be like them.
_AMPERE = Costs(0.70, 0.74, 4.25 * NS_PER_US)
_HOPPER = Costs(0.73, 0.82, 3.75 * NS_PER_US)
UNCALIBRATED = Costs(0.9, 0.9)  # a good engine's share, for want of measurements
_CALIBRATED = {
    "RTX-3090": _AMPERE,
    "A6000": _AMPERE,
    "A100-40G": _AMPERE,
    "A100-80G": _AMPERE,
    "A800": _AMPERE,
    "H100-SXM": _HOPPER,
    "H200-SXM": _HOPPER,
}


def gpu_costs(gpu: Gpu) -> Costs:
    """What is known of a GPU's kernels; the host's share is left at 0."""
    return _CALIBRATED.get(gpu.name, UNCALIBRATED)


class StepTime:
    """`StepTime(...)(step)` is the duration of `step` in ns."""

    def __init__(self, model: Transformer, gpu: Gpu, costs: Costs = Costs()) -> None:
        self._letters = symbols(model, prefill(1, 1))
        self._costs = costs
        self._ns_per_flop = 1e-3 / gpu.bf16.value / costs.compute_efficiency
        self._ns_per_byte = 1 / gpu.bandwidth.value / costs.memory_efficiency
        usual = [one for one in OPERATIONS if one.when(self._letters)]
        self._row_operations = [one for one in usual if one.name not in (_ATTENTION, _HEAD)]
        self._head = next(one for one in usual if one.name == _HEAD)
        attention = next(one for one in usual if one.name == _ATTENTION)
        self._layers = model.layers
        self._pair_ns = attention.flops(replace(self._letters, pairs=1)) * self._ns_per_flop
        self._kv_ns = self._attended(attention, t=0, S=1) * self._ns_per_byte
        self._query_ns = self._attended(attention, t=1, S=0) * self._ns_per_byte
        self._rows_ns: dict[int, float] = {}
        self._samples_ns: dict[int, float] = {0: 0.0}

    def __call__(self, step: Step) -> int:
        rows = step.prefill_tokens + step.decode_rows
        ns = self._rows_ns.get(rows) or self._time_rows(rows)
        samples_ns = self._samples_ns.get(step.samples)
        ns += self._time_head(step.samples) if samples_ns is None else samples_ns
        if step.decodes:
            ns += self._attention_ns(step.decode_kv, step.decode_kv, step.decode_rows)
        if step.chunks:
            ns += self._attention_ns(step.prefill_pairs, step.prefill_kv, step.prefill_tokens)
        costs = self._costs
        return round(ns + costs.host_ns + costs.host_sequence_ns * (step.decode_rows + len(step.chunks)))

    def _attention_ns(self, pairs: int, cached: int, queries: int) -> float:
        memory_ns = cached * self._kv_ns + queries * self._query_ns
        return self._layers * (max(pairs * self._pair_ns, memory_ns) + self._costs.kernel_ns)

    def _time_rows(self, rows: int) -> float:
        letters = replace(self._letters, t=rows)
        model = letters.model
        if model.experts:
            touched = model.experts * (1 - (1 - model.experts_per_token / model.experts) ** rows)
            letters = replace(letters, r=rows * model.experts_per_token, e=touched)
        else:
            letters = replace(letters, r=rows)
        ns = self._rows_ns[rows] = sum(self._time(one, letters) for one in self._row_operations)
        return ns

    def _time_head(self, samples: int) -> float:
        ns = self._samples_ns[samples] = self._time(self._head, replace(self._letters, b=samples))
        return ns

    def _time(self, operation: Operation, letters: Symbols) -> float:
        """All times that a step does it."""
        moved = operation.weights(letters) + operation.read(letters) + operation.written(letters)
        floor_ns = max(operation.flops(letters) * self._ns_per_flop, moved * self._ns_per_byte)
        return (self._layers if operation.per_layer else 1) * (floor_ns + self._costs.kernel_ns)

    def _attended(self, attention: Operation, t: int, S: int) -> float:  # noqa: N803 - the table's letters
        letters = replace(self._letters, t=t, S=S)
        return attention.read(letters) + attention.written(letters)
