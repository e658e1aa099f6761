"""What the operations' FLOPs and bytes mean on a GPU: arithmetic intensity, which limit binds, and the least time.

The floor of an operation is max(FLOPs / peak, bytes / bandwidth); the floor of a step is the sum over its operations,
which run one after the other. A floor is a lower bound and never a prediction: kernels reach 60 to 80 % of it.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from loadgen.roofline.gpus import Gpu
from loadgen.roofline.operations import OPERATIONS, Operation
from loadgen.roofline.step import BLOCK_TOKENS, PRECISIONS, Step, Symbols, symbols
from loadgen.roofline.transformer import Transformer

BATCH_MAX = 1 << 20
Bound = Literal["compute", "memory"]


@dataclass(frozen=True, slots=True)
class Row:
    """An operation of a step, once; `times` says how often the step does it. Times in ns, all other sizes in bytes."""

    name: str
    times: int
    flops: float
    weights: float
    read: float
    written: float
    compute_ns: float
    memory_ns: float

    @property
    def bytes(self) -> float:
        return self.weights + self.read + self.written

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes

    @property
    def bound(self) -> Bound:
        return "compute" if self.compute_ns >= self.memory_ns else "memory"

    @property
    def floor_ns(self) -> float:
        return max(self.compute_ns, self.memory_ns)

    @property
    def step_ns(self) -> float:
        """The floor of all times together."""
        return self.times * self.floor_ns


@dataclass(frozen=True, slots=True)
class Roofline:
    """All operations of one step on one GPU. Totals are sums over operations and layers."""

    model: Transformer
    step: Step
    gpu: Gpu
    rows: tuple[Row, ...]

    @property
    def flops(self) -> float:
        return sum(row.times * row.flops for row in self.rows)

    @property
    def bytes(self) -> float:
        return sum(row.times * row.bytes for row in self.rows)

    @property
    def intensity(self) -> float:
        return self.flops / self.bytes

    @property
    def compute_ns(self) -> float:
        """FLOPs over peak, of all operations."""
        return sum(row.times * row.compute_ns for row in self.rows)

    @property
    def memory_ns(self) -> float:
        """Bytes over bandwidth, of all operations."""
        return sum(row.times * row.memory_ns for row in self.rows)

    @property
    def bound(self) -> Bound:
        """What the step as a whole would rather have more of."""
        return "compute" if self.compute_ns >= self.memory_ns else "memory"

    @property
    def floor_ns(self) -> float:
        return sum(row.step_ns for row in self.rows)

    @property
    def tokens_per_s(self) -> float:
        """No GPU of these limits takes in (prefill) or puts out (decode) more."""
        return self.step.batch * self.step.new_tokens / self.floor_ns * 1e9

    def share(self, row: Row) -> float:
        """Of the step's floor, 0 to 1."""
        return row.step_ns / self.floor_ns


def analyse(model: Transformer, step: Step, gpu: Gpu) -> Roofline:
    """The roofline of one step. Raises BadInputError for a step that cannot be."""
    letters = symbols(model, step)
    rows = tuple(_row(operation, letters, gpu) for operation in OPERATIONS if operation.when(letters))
    return Roofline(model, step, gpu, rows)


def _row(operation: Operation, letters: Symbols, gpu: Gpu) -> Row:
    flops, weights = operation.flops(letters), operation.weights(letters)
    read, written = operation.read(letters), operation.written(letters)
    peak = PRECISIONS[letters.step.precision].peak if operation.quantised else "bf16"
    return Row(
        operation.name,
        letters.model.layers if operation.per_layer else 1,
        flops,
        weights,
        read,
        written,
        compute_ns=flops / (gpu.tflops(peak) * 1e3),
        memory_ns=(weights + read + written) / gpu.bandwidth.value,
    )


def compute_bound_batch(model: Transformer, step: Step, gpu: Gpu, name: str | None = None) -> int | None:
    """The smallest batch at which the operation `name`, or the whole step, is bound by compute; None if there is none.

    Intensity grows with the batch (weights are shared) towards a limit, so a bisection finds it.
    """

    def bound(batch: int) -> bool:
        roofline = analyse(model, replace(step, batch=batch), gpu)
        if name is None:
            return roofline.bound == "compute"
        return next(row for row in roofline.rows if row.name == name).bound == "compute"

    return _first(bound)


def _first(holds: Callable[[int], bool]) -> int | None:
    batch = bisect_left(range(1, BATCH_MAX + 1), True, key=holds) + 1
    return batch if batch <= BATCH_MAX else None


def kv_bytes_per_token(model: Transformer) -> int:
    """K and V of all layers, bf16."""
    return 2 * model.layers * model.kv_width * 2


def weight_bytes(model: Transformer, precision: str) -> float:
    """Of the whole model in GPU memory; only the decoder layers' matrices are quantised."""
    rest = model.parameters - model.matrix_parameters
    return model.matrix_parameters * PRECISIONS[precision].weight_bytes + rest * 2


def largest_batch(model: Transformer, step: Step, gpu: Gpu, *, utilisation: float = 0.9) -> int | None:
    """How many sequences of `step.context` tokens fit beside the weights; None where the memory is not known.

    `utilisation` is the share of memory that weights and cache may take, 0.9 as in vLLM; the rest is for activations.
    Each sequence takes whole blocks of its cache.
    """
    if gpu.memory is None:
        return None
    free = gpu.memory.value * 1e9 * utilisation - weight_bytes(model, step.precision)
    block = BLOCK_TOKENS[step.kv_cache]
    return max(0, int(free // (kv_bytes_per_token(model) * -(-step.context // block) * block)))
