"""Each module's result against float32, before anything is timed: a fast wrong kernel is worth nothing.

Small batches and odd lengths at the model's own widths. The error is ‖result − reference‖ / ‖reference‖ over everything
that the module writes; bf16 operands leave 1e-3 to 1e-2, and what only moves data must come back equal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loadgen.profile.bench import Bench, first_line, raise_if_broken
from loadgen.profile.kernels import KERNELS, how
from loadgen.profile.works import STACKS, Phase, Tools, Work, pair_works, rows_and_works, stack_step
from loadgen.roofline.gpus import GPUS
from loadgen.roofline.transformer import Transformer

ERROR_MAX = 1e-2
# Triton compiles other kernels for sizes that are multiples of 16
POINTS: tuple[tuple[Phase, int, int], ...] = (("prefill", 2, 45), ("decode", 3, 205), ("decode", 2, 256))


@dataclass(frozen=True, slots=True)
class Check:
    """A work and its error; `trouble` says why there is none."""

    name: str
    work: Work
    error: float | None
    error_max: float
    trouble: str = ""

    @property
    def passed(self) -> bool:
        return self.error is not None and self.error <= self.error_max  # NaN is not

    @property
    def triton(self) -> bool:
        """Is it a kernel of ours?"""
        return "triton" in self.work.kernel or "paged kernel" in self.work.dims


def check_all(bench: Bench, model: Transformer) -> Iterable[Check]:
    """Every work that a profile of this model would time, once."""
    named = dict(_works(model, Tools(bench.cuda, bench.triton)))
    for work, name in named.items():
        yield _check(bench, name, work)
        bench.forget()


def _works(model: Transformer, tools: Tools) -> Iterable[tuple[Work, str]]:
    gpu = next(iter(GPUS.values()))  # any: floors do not matter here
    for phase, batch, sequence in POINTS:
        for stack in STACKS:
            for row, works in rows_and_works(model, stack_step(stack, phase, batch, sequence), gpu, tools):
                yield from ((work, row.name) for work in works)
        for work in pair_works(model, phase, batch, sequence, tools):
            yield work, "kv & attention"


def _check(bench: Bench, name: str, work: Work) -> Check:
    """An error of torch, such as an attention backend that does not know this shape, is trouble and not an end."""
    limit = ERROR_MAX
    try:
        probe = KERNELS[work.kernel].build(bench, *work.dims)
        limit = 0.0 if probe.exact else ERROR_MAX
        expected = _tensors(probe.reference())
        error = _error(bench, _tensors(probe.run()), expected)
    except Exception as failure:  # noqa: BLE001 (see grid.py)
        raise_if_broken(bench, failure, f"{name} ({how(work)})")
        return Check(f"{name}: {how(work)}", work, None, limit, first_line(failure))
    return Check(f"{name}: {how(work)}", work, error, limit)


def _tensors(result: Any) -> list[Any]:
    """All tensors of a result, however nested, in order."""
    if isinstance(result, tuple):
        return [tensor for part in result for tensor in _tensors(part)]
    return [result]


def _error(bench: Bench, results: list[Any], expected: list[Any]) -> float:
    if [tuple(tensor.shape) for tensor in results] != [tuple(tensor.shape) for tensor in expected]:
        return float("inf")
    worst = 0.0
    for result, wanted in zip(results, expected, strict=True):
        size = float(bench.torch.linalg.vector_norm(wanted.double()))
        off = float(bench.torch.linalg.vector_norm(result.double() - wanted.double()))
        worst = max(worst, off / size) if off == off else float("inf")
    return worst
