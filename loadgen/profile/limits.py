"""What the device really reaches: copying, reading, writing, and multiplying bf16 matrices; and its shortest kernel.

The bandwidth limit is the fastest of all that reads (decoding mostly does), the compute limit the fastest product among
a square one and the model's own: a limit that its own modules exceed would be none. A copy is timed twice: torch's own
becomes a memcpy node in a graph, which the driver may give to a copy engine (on an H200: 2.8 TB/s where kernels that
read and write as much move 3.9 to 4.4); `scale` is a kernel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from loadgen.profile.bench import Bench
from loadgen.profile.timing import Call, Effort, Timing, time_calls
from loadgen.roofline.gpus import Gpu, Limit
from loadgen.roofline.transformer import Transformer

ROWS = 8192  # of the model's own products: far above the ridge
WIDTH = 4096  # of the matrix that is read by a product with a vector
READING = ("copy", "scale", "read", "read by a product")


@dataclass(frozen=True, slots=True)
class Reached:
    """`work` is bytes or FLOPs; over ns they are GB/s or, with `unit` TFLOP/s, thousands of those."""

    name: str
    unit: str
    work: float
    timing: Timing

    @property
    def value(self) -> float:
        return self.rate(self.timing.median_ns)

    def rate(self, ns: float) -> float:
        return self.work / ns / (1000 if self.unit == "TFLOP/s" else 1)


def measure_limits(bench: Bench, model: Transformer, effort: Effort, *, quick: bool) -> Iterable[Reached]:
    """All of them, one after the other."""
    yield from _bandwidths(bench, effort, quick=quick)
    yield from _products(bench, model, effort, quick=quick)


def _bandwidths(bench: Bench, effort: Effort, *, quick: bool) -> list[Reached]:
    """Copy, read and write of 4 GiB (quick: 1 GiB; a CPU: 32 MiB), the product of half; all bytes read and written."""
    torch = bench.torch
    count = ((1 << 28) if quick else (1 << 30)) if bench.cuda else 1 << 23
    source = torch.randn(count, device=bench.kind)
    target = torch.empty_like(source)
    size = source.nbytes
    matrix, vector = bench.normal(count // WIDTH, WIDTH), bench.normal(WIDTH)

    def timed(name: str, work: float, call: Call) -> Reached:
        return Reached(name, "GB/s", work, time_calls(bench, [call], effort))

    return [
        timed("copy", 2 * size, lambda: target.copy_(source)),
        timed("scale", 2 * size, lambda: torch.mul(source, 1.5, out=target)),
        timed("read", size, lambda: torch.sum(source)),
        timed("read by a product", matrix.nbytes, lambda: torch.mv(matrix, vector)),
        timed("write", size, lambda: target.fill_(1.5)),
    ]


def _products(bench: Bench, model: Transformer, effort: Effort, *, quick: bool) -> Iterable[Reached]:
    """bf16 TFLOP/s of 8192³ and of the model's own shapes at 8192 rows; quick and on a CPU smaller."""
    side = (4096 if quick else ROWS) if bench.cuda else 256
    width = model.q_width + 2 * model.kv_width
    shapes = {
        f"{side}³": (side, side, side),
        "qkv": (side, model.hidden, width),
        "out": (side, model.q_width, model.hidden),
        "gate & up" if model.gated else "up": (side, model.hidden, model.ffn * (2 if model.gated else 1)),
        "down": (side, model.ffn, model.hidden),
    }
    for name, shape in shapes.items():
        yield _product(bench, name, shape, effort)


def _product(bench: Bench, name: str, shape: tuple[int, int, int], effort: Effort) -> Reached:
    rows, inputs, outputs = shape
    x, weight = bench.normal(rows, inputs), bench.normal(outputs, inputs, scale=inputs**-0.5)
    linear: Callable[[Any, Any], Any] = bench.torch.nn.functional.linear
    timing = time_calls(bench, [lambda: linear(x, weight)], effort)
    return Reached(name, "TFLOP/s", 2.0 * rows * inputs * outputs, timing)


def measure_launch(bench: Bench, effort: Effort) -> Timing:
    """The shortest kernel there is: one number plus one."""
    one = bench.normal(1)
    return time_calls(bench, [lambda: one + one], effort)


def measured_gpu(name: str, reached: list[Reached], base: Gpu | None) -> Gpu:
    """A GPU whose limits are what was reached; memory as in `base`."""

    def best(unit: str, *names: str) -> Limit:
        mine = [one for one in reached if one.unit == unit and (not names or one.name in names)]
        first = max(mine, key=lambda one: one.value)
        return Limit(first.value, f"measured: {first.name}")

    bf16, bandwidth = best("TFLOP/s"), best("GB/s", *READING)
    return Gpu(f"{name} as measured", bf16, None, bandwidth, base.memory if base else None)
