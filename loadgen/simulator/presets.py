"""The models and GPUs that the simulator can pretend to be: two tables, a line each. No arithmetic on time here.

Model dimensions are those of the published configurations. GPU figures are datasheet figures for dense bf16 with fp32
accumulation and for device memory in decimal GB/s; sparse peaks would be twice too high.
"""

from dataclasses import dataclass

GIB = 1 << 30
WEIGHT_BYTES = 2  # bf16 everywhere: weights, activations, keys and values


@dataclass(frozen=True, slots=True)
class Model:
    """A Llama-shaped decoder. `kv_heads` < `heads` is grouped-query attention."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    context: int  # tokens that it was trained for

    @property
    def kv_width(self) -> int:
        """Width of the keys (or values) of one layer."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def layer_weights(self) -> int:
        """Parameters in the matrices of one layer: QKV, output, gate, up, down."""
        return self.hidden * (2 * self.hidden + 2 * self.kv_width + 3 * self.ffn)

    @property
    def parameters(self) -> int:
        """All parameters: layers with two norms each, embedding, LM head, final norm."""
        return self.layers * (self.layer_weights + 2 * self.hidden) + 2 * self.vocabulary * self.hidden + self.hidden

    @property
    def kv_bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_width * WEIGHT_BYTES


@dataclass(frozen=True, slots=True)
class Gpu:
    peak_flops: float  # per second
    bandwidth: float  # bytes per second
    memory_bytes: int


MODELS = {
    "llama-2-7b": Model(layers=32, hidden=4096, heads=32, kv_heads=32, ffn=11008, vocabulary=32000, context=4096),
    "llama-2-13b": Model(layers=40, hidden=5120, heads=40, kv_heads=40, ffn=13824, vocabulary=32000, context=4096),
    "llama-3.1-8b": Model(layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocabulary=128256, context=131072),
}

GPUS = {
    "l4": Gpu(121e12, 300e9, 24 * GIB),
    "rtx-3090": Gpu(71.2e12, 936e9, 24 * GIB),
    "rtx-4090": Gpu(165.2e12, 1008e9, 24 * GIB),
    "a800-80g": Gpu(312e12, 2039e9, 80 * GIB),
    "h100": Gpu(989.4e12, 3350e9, 80 * GIB),
    "h200": Gpu(989.4e12, 4800e9, 140 * GIB),
}

# What an engine keeps for activations, graphs and its runtime, so that a 7B model on 24 GiB at 0.9 has 16k tokens left.
WORKSPACE_BYTES = 5 * GIB // 4


def kv_cache_bytes(model: Model, gpu: Gpu, gpu_memory_utilization: float) -> int:
    """Bytes left for keys and values beside the weights; 0 or less when the model does not fit."""
    return int(gpu.memory_bytes * gpu_memory_utilization) - model.parameters * WEIGHT_BYTES - WORKSPACE_BYTES
