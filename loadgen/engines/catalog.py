"""The engines that can be started by name: what people call them, and which script starts each.

The scripts are in `servers/` (in an installed package `loadgen/servers/`); they know the engines, nothing here does.
"""

import difflib
from pathlib import Path

from loadgen.errors import BadInputError, EngineError

SIMULATOR = "simulator"
# script → other names it goes by; case, dots, dashes and underscores do not matter
_ALIASES = {
    "vllm": ("vllmcpu",),
    "llama_cpp": ("llamaserver", "xllamacpp", "llamacpppython", "llamacppserver"),
    "transformers": ("hf", "huggingface", "tf", "transformersserve"),
    "deepspeed_mii": ("mii", "deepspeed", "fastgen"),
    "tensorrt_llm": ("trtllm", "tensorrt", "trt", "trtllmserve"),
    "sglang": ("sgl",),
}
# An alias that means one of llama.cpp's three ways in particular
WAYS = {"llamaserver": "llama-server", "xllamacpp": "xllamacpp", "llamacpppython": "llama_cpp.server"}
WAYS["llamacppserver"] = "llama_cpp.server"
ENGINES = (SIMULATOR, *_ALIASES)


def plain(name: str) -> str:
    """`llama.cpp`, `llama_cpp` and `LlamaCpp` are one name."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def find_engine(name: str) -> tuple[str, list[str]]:
    """(engine, arguments that its name implies). Raises BadInputError with the nearest name."""
    wanted = plain(name)
    known = {plain(engine): engine for engine in ENGINES}
    known |= {alias: engine for engine, aliases in _ALIASES.items() for alias in aliases}
    if wanted in known:
        return known[wanted], ["--through", WAYS[wanted]] if wanted in WAYS else []
    near = difflib.get_close_matches(wanted, known, 1)
    guess = f"Did you mean {known[near[0]]}? " if near else ""
    raise BadInputError(f"There is no engine '{name}'.", f"{guess}Engines: {', '.join(ENGINES)}.")


def script_of(engine: str) -> Path:
    """Where its script is. Raises EngineError when the installation has lost it."""
    package = Path(__file__).parents[1]
    for folder in (package / "servers", package.parent / "servers"):
        if (folder / f"{engine}.py").is_file():
            return folder / f"{engine}.py"
    raise EngineError(f"The script that starts {engine} is missing.", "Install loadgen again: it travels in the wheel.")
