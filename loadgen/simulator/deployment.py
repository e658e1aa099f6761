"""What the simulator pretends to be: a model of the roofline on a GPU of the roofline, and the memory that leaves.

Names are the roofline's, and the few that only the simulator knew. No arithmetic on time here.
"""

import re

from loadgen.errors import BadInputError
from loadgen.roofline.bound import kv_bytes_per_token
from loadgen.roofline.gpus import Gpu, find_gpu
from loadgen.roofline.transformer import Transformer, find_transformer

GIB = 1 << 30
WEIGHT_BYTES = 2  # bf16
# What an engine keeps for activations, graphs and its runtime, so that a 7B model on 24 GiB at 0.9 has 16k tokens left.
WORKSPACE_BYTES = 5 * GIB // 4

# The tokens that a model was trained for, by what its name contains; the first that is found counts.
_CONTEXTS = (
    ("16k", 16384),
    ("llama-3.", 131072),
    ("llama-3-", 8192),
    ("mistral", 32768),
    ("mixtral", 32768),
    ("qwen2.5", 32768),
    ("gpt2", 1024),
    ("opt", 2048),
    ("", 4096),  # Llama-2 and Vicuna
)


def find_model(name: str) -> tuple[Transformer, int]:
    """The shape of a model and its context in tokens. Raises BadInputError."""
    return find_transformer(name), next(tokens for part, tokens in _CONTEXTS if part in name.lower())


def find_card(name: str) -> Gpu:
    """The GPU of a name, `a800-80g` among them. Raises BadInputError."""
    return find_gpu(re.sub(r"(?i)^(a800)-80g$", r"\1", name.strip()))


def kv_cache_bytes(model: Transformer, gpu: Gpu, gpu_memory_utilization: float) -> int:
    """Bytes left for keys and values beside the weights; 0 or less when the model does not fit.

    Memory that is sold as GB is GiB.
    """
    if gpu.memory is None:
        raise BadInputError(f"The memory of {gpu.name} is not known.", "Set --kv-cache-gib.")
    memory = int(gpu.memory.value * GIB * gpu_memory_utilization)
    return memory - model.parameters * WEIGHT_BYTES - WORKSPACE_BYTES


def kv_tokens(model: Transformer, cache_bytes: int) -> int:
    """How many tokens' keys and values so many bytes hold."""
    return cache_bytes // kv_bytes_per_token(model)
