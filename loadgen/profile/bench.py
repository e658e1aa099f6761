"""The device under measurement, and the few calls that depend on what kind it is. torch enters the program here.

It must never change the device's clocks, power limit or modes: a profile shows the card as it is found.
"""

import gc
import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from loadgen.errors import BadInputError, EngineError

CPU_CACHE_BYTES = 1 << 20  # tests on a CPU need not sweep its last-level cache
GPU_CACHE_BYTES = 60 << 20  # of a torch too old to tell
SEED = 2404


@dataclass(slots=True)
class Bench:
    """torch on one device. `triton`: our fused kernels can run. `shared` holds what the copies of one module share."""

    torch: Any
    kind: str  # "cuda" or "cpu"
    name: str
    cache_bytes: int
    memory_bytes: int
    triton: bool
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        return self.kind == "cuda"

    def normal(self, *shape: int, scale: float = 1.0) -> Any:
        """Random bf16: zeros would run faster than real data does, because fewer bits flip."""
        made = self.torch.randn(shape, device=self.kind, dtype=self.torch.bfloat16)
        return made if scale == 1.0 else made.mul_(scale)

    def integers(self, high: int, *shape: int) -> Any:
        return self.torch.randint(high, shape, device=self.kind)

    def shuffled(self, count: int) -> Any:
        return self.torch.randperm(count, device=self.kind)

    def finish(self) -> None:
        """Wait until everything that was asked for is done."""
        if self.cuda:
            self.torch.cuda.synchronize()

    def taken_bytes(self) -> int:
        """Of the GPU's memory by tensors; 0 on a CPU."""
        return int(self.torch.cuda.memory_allocated()) if self.cuda else 0

    def free_bytes(self) -> float:
        """For further tensors; no limit on a CPU, where only tiny models are tried."""
        if not self.cuda:
            return float("inf")
        kept = self.torch.cuda.memory_reserved() - self.torch.cuda.memory_allocated()
        return float(self.torch.cuda.mem_get_info()[0] + kept)

    def forget(self) -> None:
        """Give the memory of what was just measured back."""
        self.shared.clear()
        gc.collect()
        if self.cuda:
            self.torch.cuda.empty_cache()


def open_bench(kind: str, *, plain: bool = False) -> Bench:
    """The device `cuda` or `cpu`; `plain` forgoes the Triton kernels. Raises BadInputError when it cannot be used."""
    if importlib.util.find_spec("torch") is None:
        raise BadInputError("A profile needs torch, which is not installed.", "pip install 'loadgen[profile]'")
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(SEED)
    gc.collect()
    gc.freeze()  # a collection before each of thousands of captures need not walk through torch's own objects
    if kind == "cpu":
        return Bench(torch, "cpu", "CPU", CPU_CACHE_BYTES, 0, triton=False)
    if not torch.cuda.is_available():
        raise BadInputError(
            "There is no GPU here that torch can use.",
            "Run it on the machine with the GPU; --device cpu tries the command out with a tiny model.",
        )
    about = torch.cuda.get_device_properties(0)
    return Bench(
        torch,
        "cuda",
        str(about.name),
        int(getattr(about, "L2_cache_size", 0)) or GPU_CACHE_BYTES,
        int(about.total_memory),
        triton=not plain and importlib.util.find_spec("triton") is not None,
    )


def describe_bench(bench: Bench) -> dict[str, Any]:
    """What a reader needs in order to repeat the measurement."""
    torch = bench.torch
    told = {
        "name": bench.name,
        "kind": bench.kind,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if bench.cuda else None,
        "cache_bytes": bench.cache_bytes,
        "memory_bytes": bench.memory_bytes,
        "triton": _version("triton") if bench.triton else None,
    }
    if bench.cuda:
        about = torch.cuda.get_device_properties(0)
        told |= {"multiprocessors": about.multi_processor_count, "capability": f"{about.major}.{about.minor}"}
    return told


def _version(module: str) -> str:
    return str(importlib.import_module(module).__version__)


def out_of_memory(error: Exception) -> bool:
    """Is it only this shape that does not fit?"""
    return "out of memory" in str(error).lower() or type(error).__name__ == "OutOfMemoryError"


def raise_if_broken(bench: Bench, error: Exception, doing: str) -> None:
    """Raise EngineError where the GPU itself has failed: after such an error every later call fails too."""
    if isinstance(error, EngineError):
        raise error
    if not bench.cuda or out_of_memory(error):
        return
    try:
        bench.finish()
    except RuntimeError as dead:
        raise EngineError(
            f"The GPU failed at {doing}: {first_line(error)}", "Run again with --plain, without the Triton kernels."
        ) from dead


def first_line(error: Exception) -> str:
    """What an error says, without torch's advice below it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
