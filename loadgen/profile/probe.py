"""One copy of a module, ready to be called; and the door to the Triton kernels, opened only when one is called."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Probe:
    """`run` returns the tensor or tensors it wrote; `reference` gives them in float32, and must be called before `run`.

    `exact`: the module only moves data, so that its result must be equal and not merely close.
    """

    run: Callable[[], Any]
    reference: Callable[[], Any]
    exact: bool = False


def triton_kernels() -> Any:
    """The module triton_kernels, which cannot be imported without Triton."""
    return importlib.import_module("loadgen.profile.triton_kernels")
