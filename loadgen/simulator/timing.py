"""How long one step takes on a GPU: a roofline with a single efficiency, simple enough to check by hand.

    time = (linears + LM head + attention) / efficiency + host overhead
    each part = max(FLOPs / peak, bytes / bandwidth)

The weights are read once a step whatever the batch, which is why batching pays; keys and values are read once per
sequence, which is why long contexts do not. FLOPs and bytes are those of fused kernels in bf16, causal in the prefill.
Pure: a step in, nanoseconds out.
"""

from loadgen.simulator.batching import Step
from loadgen.simulator.presets import WEIGHT_BYTES, Gpu, Model
from loadgen.units import NS_PER_S


class StepTime:
    """`StepTime(...)(step)` is the duration of `step` in ns."""

    def __init__(self, model: Model, gpu: Gpu, efficiency: float = 1.0, host_overhead_ns: int = 0) -> None:
        hidden, ffn, kv_width = model.hidden, model.ffn, model.kv_width
        self._gpu = gpu
        self._ns_per_gpu_s = NS_PER_S / efficiency
        self._host_overhead_ns = host_overhead_ns
        weights = model.layers * model.layer_weights
        self._linear_flops = 2 * weights
        self._weight_bytes = WEIGHT_BYTES * weights
        # Activations of a row through a layer, in and out of: QKV, output, gate+up, down, SiLU, RoPE, two add+norms,
        # the write of its key and value.
        row = (2 * hidden + 2 * kv_width) + 2 * hidden + (hidden + 2 * ffn) + (ffn + hidden) + 3 * ffn
        row += 2 * (hidden + kv_width) + 8 * hidden + 4 * kv_width
        self._row_bytes = WEIGHT_BYTES * model.layers * row
        self._head_flops = 2 * hidden * model.vocabulary
        self._head_bytes = WEIGHT_BYTES * hidden * model.vocabulary
        self._head_row_bytes = WEIGHT_BYTES * (hidden + model.vocabulary)
        self._pair_flops = 4 * model.layers * (hidden + model.heads)
        self._kv_bytes = model.kv_bytes_per_token
        self._query_bytes = 2 * WEIGHT_BYTES * model.layers * hidden

    def __call__(self, step: Step) -> int:
        rows = step.prefill_tokens + step.decodes
        seconds = self._bound(rows * self._linear_flops, self._weight_bytes + rows * self._row_bytes)
        if step.samples:
            head_bytes = self._head_bytes + step.samples * self._head_row_bytes
            seconds += self._bound(step.samples * self._head_flops, head_bytes)
        for pairs, cached, queries in (
            (step.decode_kv, step.decode_kv, step.decodes),
            (step.prefill_pairs, step.prefill_kv, step.prefill_tokens),
        ):
            attention_bytes = cached * self._kv_bytes + queries * self._query_bytes
            seconds += self._bound(pairs * self._pair_flops, attention_bytes)
        return round(seconds * self._ns_per_gpu_s) + self._host_overhead_ns

    def _bound(self, flops: int, moved_bytes: int) -> float:
        return max(flops / self._gpu.peak_flops, moved_bytes / self._gpu.bandwidth)
