"""THE table of GPUs: what each could do at best, and who says so. Adding a GPU is adding an entry.

TFLOP/s are dense, bf16 or fp8 inputs with fp32 accumulation; GB/s and GB are decimal, as datasheets give them. Three
slips that tables of this kind are full of: peaks with 2:4 sparsity (twice the dense ones), RTX peaks with fp16
accumulation (twice those with fp32), and GiB taken for GB. A datasheet's peak is a bound, not a promise: measure a copy
and a large matrix product on the GPU at hand and pass them as own limits.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from loadgen.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Limit:
    """A number and its source."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """`bf16` and `fp8` in TFLOP/s (None: no such cores), `bandwidth` in GB/s, `memory` in GB (None: not known)."""

    name: str
    bf16: Limit
    fp8: Limit | None
    bandwidth: Limit
    memory: Limit | None

    def tflops(self, peak: str) -> float:
        """The peak for "bf16" or "fp8" inputs; without fp8 tensor cores fp8 weights are multiplied as bf16."""
        return self.fp8.value if peak == "fp8" and self.fp8 else self.bf16.value

    def ridge(self, peak: str = "bf16") -> float:
        """FLOPs per byte from which an operation can be bound by compute."""
        return self.tflops(peak) * 1000 / self.bandwidth.value


def _gpu(name: str, source: str, bf16: float, fp8: float | None, bandwidth: float, memory: float) -> Gpu:
    """A GPU all of whose limits stand in one document."""
    return Gpu(
        name,
        Limit(bf16, f"{source}: dense bf16 tensor, fp32 accumulate"),
        Limit(fp8, f"{source}: dense fp8 tensor, fp32 accumulate") if fp8 else None,
        Limit(bandwidth, f"{source}: memory bandwidth"),
        Limit(memory, f"{source}: memory"),
    )


_AMPERE_RTX = "NVIDIA GA102 architecture whitepaper"
_ADA_RTX = "NVIDIA Ada architecture whitepaper"
GPUS: Mapping[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        # name, source, bf16 TFLOP/s, fp8 TFLOP/s, GB/s, GB
        _gpu("RTX-3090", _AMPERE_RTX, 71.2, None, 936, 24),
        _gpu("RTX-4090", _ADA_RTX, 165.2, 330.3, 1008, 24),
        _gpu("A6000", "NVIDIA RTX A6000 datasheet, half of the sparse 309.7", 154.8, None, 768, 48),
        _gpu("L4", "NVIDIA L4 datasheet, half of the sparse 242 and 485", 121, 242.5, 300, 24),
        _gpu("L40S", "NVIDIA L40S datasheet", 362.05, 733, 864, 48),
        _gpu("A100-40G", "NVIDIA A100 datasheet, 40 GB", 312, None, 1555, 40),
        _gpu("A100-80G", "NVIDIA A100 datasheet, 80 GB SXM", 312, None, 2039, 80),
        _gpu("A800", "NVIDIA A800 datasheet, 80 GB SXM; the PCIe card has 1935 GB/s", 312, None, 2039, 80),
        _gpu("H100-SXM", "NVIDIA H100 datasheet, SXM5, half of the sparse 1979 and 3958", 989.4, 1978.9, 3350, 80),
        _gpu("H200-SXM", "NVIDIA H200 datasheet, SXM, half of the sparse 1979 and 3958", 989.4, 1978.9, 4800, 141),
        _gpu("B200", "NVIDIA HGX B200 at 1000 W, half of the sparse 4500 and 9000", 2250, 4500, 8000, 180),
    )
}


_VARIANT = re.compile(r"-(SXM|\d+G)$")


def find_gpu(name: str) -> Gpu:
    """The GPU of a name as people write it: `H100`, `h200-sxm`, `RTX 4090`, `a100`. Raises BadInputError with a guess.

    A bare `A100` is the 80 GB one.
    """
    wanted = _plain(name)
    for known in reversed(list(GPUS)):
        if wanted in (_plain(known), _plain(_VARIANT.sub("", known))):
            return GPUS[known]
    nearest = get_close_matches(wanted, [_plain(known) for known in GPUS], n=1, cutoff=0.5)
    guess = next((f"Did you mean {known}? " for known in GPUS if [_plain(known)] == nearest), "")
    raise BadInputError(
        f"The GPU '{name}' is not known.", f"{guess}Give its own --limits TFLOPS,GBPS, or one of: {', '.join(GPUS)}."
    )


def _plain(name: str) -> str:
    plain = name.lower().removeprefix("nvidia")
    for noise in (" ", "-", "_", "geforce", "rtx", "gb"):
        plain = plain.replace(noise, "g" if noise == "gb" else "")
    return plain


def own_limits(text: str, base: Gpu | None = None) -> Gpu:
    """A GPU of measured limits: `TFLOPS,GBPS`, dense bf16. The rest stays as in `base`. Raises BadInputError."""
    try:
        tflops, gbps = (float(part) for part in text.split(","))
    except ValueError:
        tflops = gbps = math.nan
    if not (0 < tflops < math.inf and 0 < gbps < math.inf):
        raise BadInputError(f"'{text}' is not a pair of limits.", "Write TFLOP/s and GB/s above 0: --limits 820,4100.")
    return Gpu(
        f"{base.name} as measured" if base else "own limits",
        Limit(tflops, "--limits"),
        # A measured bf16 rate says what share of its peak this GPU reaches; the same share is taken for fp8.
        Limit(base.fp8.value * tflops / base.bf16.value, "--limits, scaled") if base and base.fp8 else None,
        Limit(gbps, "--limits"),
        base.memory if base else None,
    )
