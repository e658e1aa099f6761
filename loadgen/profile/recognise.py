"""Which GPU of the table is this device? By the name that the driver gives it, and its memory where the table has two.

Apart from gpus.find_gpu, which understands people: a driver's name must match as a whole word (a GH200 is no H200), and
cards that share a name but not the limits (PCIe, NVL, Laptop, Ti …) are better not recognised than mistaken.
"""

import re

from loadgen.roofline.gpus import GPUS, Gpu

_OTHERS = frozenset({"pcie", "nvl", "laptop", "mobile", "ti", "super", "d", "ada", "max"})
_VARIANT = re.compile(r"-(SXM|\d+G)$|^RTX-")


def recognise(device_name: str, memory_bytes: int) -> Gpu | None:
    """`NVIDIA A100-SXM4-80GB` is the A100-80G; None for a device that the table does not hold."""
    words = set(re.findall(r"[a-z0-9]+", device_name.lower()))
    if words & _OTHERS:
        return None
    found = [gpu for name, gpu in GPUS.items() if _VARIANT.sub("", name).lower() in words]
    return min(found, key=lambda gpu: abs((gpu.memory.value if gpu.memory else 0) * 1e9 - memory_bytes), default=None)
