"""The GPUs of this machine through NVML, beside a run against a server on the same machine: use, memory, power, energy.

Optional: `pip install 'loadgen[nvml]'`. Without the package, a driver or a GPU there are no readings, and nothing is
said of it. It only ever reads.
"""

import importlib
from typing import Any

from loadgen.engines.gauges import Readings

_IN_USE = 0.05  # of its memory: a GPU with less has no model on it


class Gpus:
    """All GPUs that hold a model; of none of them when none does, all. `readings` are sums, or means, over them."""

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self._nvml = nvml
        self._handles = handles

    def readings(self) -> Readings:
        """`gpu:count`, and what the driver tells of `gpu:utilization` (0 to 1, mean), `gpu:memory_used_bytes` (sum),
        `gpu:memory_usage` (0 to 1, largest), `gpu:power_watts` (sum), `gpu:energy_joules` (sum, since the driver
        started). What one of them does not know is left out."""
        memory = [self._ask("nvmlDeviceGetMemoryInfo", each) for each in self._handles]
        used = [index for index, each in enumerate(memory) if each is not None and each.used > _IN_USE * each.total]
        chosen = used or list(range(len(self._handles)))
        found: Readings = {"gpu:count": float(len(chosen))}
        told = [memory[index] for index in chosen]
        if told and None not in told:
            found["gpu:memory_used_bytes"] = float(sum(each.used for each in told))
            found["gpu:memory_usage"] = max(each.used / each.total for each in told)
        for name, function, scale, mean in _GAUGES:
            values = [self._ask(function, self._handles[index]) for index in chosen]
            if values and None not in values:
                numbers = [float(getattr(each, "gpu", each)) * scale for each in values]
                found[name] = sum(numbers) / (len(numbers) if mean else 1)
        return found

    def _ask(self, function: str, handle: Any) -> Any:
        try:
            return getattr(self._nvml, function)(handle)
        except (self._nvml.NVMLError, AttributeError):
            return None


# name, NVML's function, its unit in ours, whether the mean is meant
_GAUGES = (
    ("gpu:utilization", "nvmlDeviceGetUtilizationRates", 1e-2, True),
    ("gpu:power_watts", "nvmlDeviceGetPowerUsage", 1e-3, False),
    ("gpu:energy_joules", "nvmlDeviceGetTotalEnergyConsumption", 1e-3, False),
)


def open_gpus() -> Gpus | None:
    """The GPUs of this machine; None without the package, a driver or a GPU."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return None
    return Gpus(nvml, handles) if handles else None
