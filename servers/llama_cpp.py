"""llama.cpp's server, three ways: `llama-server` on the PATH, the wheel xllamacpp, or the package llama-cpp-python.

    python servers/llama_cpp.py --model model.gguf --port 8000 --max-num-seqs 8 [--through xllamacpp]

There is room for --max-model-len tokens in each slot (the flag -c is their sum; the script multiplies). The third
way is what "llama.cpp" means in papers that name llama-cpp-python: it answers one request at a time.
"""

import os
import shutil
import struct
import sys

from starting import Refusal, Start, installed, read_words, start

WAYS = ("llama-server", "xllamacpp", "llama_cpp.server")
CHOICES = (("--through", {"choices": WAYS, "help": "which of them; default: the first that is installed"}),)
words, rest = read_words(__doc__, "llama_cpp", CHOICES)


def find_file(model: str) -> str:
    """The .gguf itself, or the only one in a folder."""
    if os.path.isdir(model):
        files = sorted(each for each in os.listdir(model) if each.endswith(".gguf"))
        if len(files) != 1:
            raise Refusal(
                f"{model} holds {len(files) or 'no'} .gguf file{'s' if files else ''}.",
                "Name the file. `loadgen model tiny DIR --gguf` writes one; llama.cpp has no dummy weights.",
            )
        return os.path.join(model, files[0])
    if not os.path.isfile(model):
        raise Refusal(
            f"{model} does not exist.", "llama.cpp wants a .gguf file: `loadgen model tiny DIR --gguf` writes one."
        )
    with open(model, "rb") as file:
        if file.read(4) != b"GGUF":
            raise Refusal(f"{model} is not a GGUF file.", "llama.cpp reads no other format.")
    return model


def trained_context(model: str) -> int:
    """`*.context_length` of a GGUF file; 4096 when it is not among the first entries."""
    with open(model, "rb") as file:
        head = file.read(1 << 16)
    at = head.find(b".context_length")
    if at < 0:
        return 4096
    at += len(b".context_length")
    kind, value = struct.unpack_from("<II", head, at)
    return value if kind == 4 else 4096


def choose() -> str:
    there = {
        "llama-server": bool(shutil.which("llama-server")),
        "xllamacpp": bool(installed(["xllamacpp"])),
        "llama_cpp.server": bool(installed(["llama-cpp-python"])),
    }
    found = [way for way in WAYS if there[way]]
    if words.through and words.through not in found:
        missing = "not on the PATH" if words.through == "llama-server" else f"not installed in {sys.executable}"
        raise Refusal(f"{words.through} is {missing}.", _how_to(words.through))
    if not found:
        raise Refusal(f"llama.cpp is not installed in {sys.executable}.", _how_to("xllamacpp"))
    return words.through or found[0]


def _how_to(way: str) -> str:
    if way == "llama-server":
        return f"{_INSTALL[way]}."
    return f"Name the Python of the environment that has it: --python PATH. To install it: {_INSTALL[way]}."


_INSTALL = {
    "llama-server": "Build llama.cpp, or put its llama-server on the PATH",
    "xllamacpp": "pip install xllamacpp==2026.10.11549 (a wheel, 34 MB, no compiler needed)",
    "llama_cpp.server": "pip install 'llama-cpp-python[server]' (compiled: ten minutes; CMAKE_ARGS=-DGGML_CUDA=on for a GPU)",
}


def fill_in() -> Start:
    way, gpu = choose(), words.device == "cuda"
    words.served_model_name = words.served_model_name or os.path.basename(words.model).removesuffix(".gguf")
    words.model = find_file(words.model)
    length = int(words.max_model_len or trained_context(words.model))
    words.max_model_len = str(length)
    slots = 1 if way == "llama_cpp.server" else int(words.max_num_seqs or (32 if gpu else 4))
    if way == "llama_cpp.server":
        if words.max_num_seqs not in (None, "1"):
            raise Refusal("llama_cpp.server answers one request at a time.", "Use --through llama-server or xllamacpp.")
        words.max_num_seqs = None
        layers = ["--n_gpu_layers", "-1", "--flash_attn", "True"] if gpu else []
        if not gpu and "--n_threads_batch" not in rest:
            # Else all cores, and a prompt waits for each of them: a second, where the load is on the same machine.
            layers = ["--n_threads_batch", str(max(1, (os.cpu_count() or 2) // 2))]
        # By default a new request cuts off the one that is being streamed.
        quiet = ["--interrupt_requests", "False", "--disable_ping_events", "True", "--verbose", "False"]
        return Start(
            "llama_cpp.server",
            way,
            [sys.executable, "-m", "llama_cpp.server"],
            ("llama-cpp-python",),
            ("0.3.30", "0.3"),
            _INSTALL[way],
            layers + quiet,
            ready="/v1/models",
            max_num_seqs=1,
        )
    words.max_num_seqs = str(slots)
    warnings = []
    here = os.path.dirname(os.path.abspath(__file__))
    if way == "xllamacpp":
        begin = [sys.executable, os.path.join(here, "xllamacpp_server.py")]
        always, packages, versions = [], ("xllamacpp",), ("2026.10", "2026.10")
        if gpu:
            warnings = [
                "The wheel xllamacpp computes on the CPU, not on the GPU: build llama-server with CUDA for that."
            ]
    else:
        begin = [str(shutil.which("llama-server"))]
        # One stream of the cache for all slots: with one for each, a step takes a pass over the weights for every run
        # of neighbouring busy slots. The price: an answer may grow into the context of the others, and every token looks
        # through all of it, which long prompts in many slots make slow (docs/engines.md); --no-kv-unified undoes it.
        always = ["--metrics", "--slots", "--kv-unified"]
        always += ["-ngl", "999", "-fa", "on"] if gpu else []
        packages, versions = (), ("0", "")
    return Start(
        "llama.cpp",
        way,
        begin,
        packages,
        versions,
        _INSTALL[way],
        always,
        max_num_seqs=slots,
        slots=slots,
        warnings=warnings,
    )


start(fill_in, words, rest)
