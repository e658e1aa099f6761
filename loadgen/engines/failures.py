"""Why an engine died while it was loading: one table from what engines write to what people can do about it.

The engine's own last words are always shown beside the guess; where no line is known, they stand alone.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """`pattern` is looked for in each line; `{0}` in the hint is its first group."""

    pattern: str
    hint: str


_MEMORY = "Not enough memory: lower --gpu-memory-utilization, --max-model-len or --max-num-seqs, or free the GPU."
# In this order: the first that is found anywhere in the end of the log.
FAILURES = (
    Failure(
        r"out of memory|OutOfMemoryError|No available memory for the cache blocks|std::bad_alloc|Cannot allocate memory"
        r"|MemoryError|Free memory on device .* is less than desired|is less than requested memory"
        r"|failed to (?:allocate|fit)|larger than the (?:available KV cache|maximum number of tokens)"
        r"|can't allocate memory|unable to allocate",
        _MEMORY,
    ),
    Failure(
        r"Failed to create llama_context",  # llama_cpp.server, which keeps the reason to itself
        "Most likely the memory for its KV cache: lower --max-model-len. --verbose True lets it say more.",
    ),
    Failure(
        r"[Aa]ddress already in use|couldn't bind|[Pp]ort \d+ is already",
        "Another program has its port: choose another --port, or leave it out for a free one.",
    ),
    Failure(
        r"unrecognized arguments: (.+)|No such option: (\S+)|invalid argument: (\S+)|unknown argument: (\S+)",
        "It does not know {0}: an option of another version? Its own --help lists them.",
    ),
    Failure(
        r"No CUDA GPUs are available|Found no NVIDIA driver|Failed to infer device type|no kernel image is available"
        r"|CUDA driver version is insufficient|Torch not compiled with CUDA|CUDA-capable device",
        "It finds no GPU that it can use: see nvidia-smi, or try --device cpu.",
    ),
    Failure(
        r"CUDA_HOME (?:does not exist|environment variable is not set)|nvcc: not found|Could not find nvcc"
        r"|No such file or directory: '[^']*nvcc'",
        "It compiles CUDA code at its first start: install the CUDA toolkit and set CUDA_HOME.",
    ),
    Failure(
        r"ModuleNotFoundError: No module named '([\w.]+)'|No package metadata was found for (\S+)",
        "The package {0} is missing in the engine's Python: install it there.",
    ),
    Failure(
        r"does not appear to have a file named|not a local folder and is not a valid model|Repo id must be"
        r"|HFValidationError|failed to load model|error loading model|Invalid repository ID"
        r"|No such file or directory: '[^']*\.json'|Unrecognized model in|safetensors_rust|invalid magic"
        r"|LocalEntryNotFoundError|couldn't connect to 'https",
        "It cannot read the model: --model wants a folder with config, tokenizer and weights; llama.cpp a .gguf.",
    ),
    Failure(r"ImportError: (.+)", "A library does not fit: {0}"),
)
_KILLED = "It was killed from outside: most likely the machine's memory ran out (see dmesg)."
_NOISE = re.compile(r"^\s*(?:File \"|\^|During handling|The above exception|Traceback|\[rank)|^\W*$")
_POINTS_UP = re.compile(r"See root cause above")  # vLLM's front end, of its engine's own words
_TELLING = re.compile(r"\b\w*(?:Error|Exception|error|failed|Failed)\b")
_LINES_SHOWN, _LINE_MAX = 8, 200


def explain(lines: list[str], returncode: int) -> tuple[str, str]:
    """(the line that says most, what to do about it) of an engine's last lines and its exit code; "" where unknown."""
    for failure in FAILURES:
        for line in reversed(lines):
            found = re.search(failure.pattern, line)
            if found:
                group = next((each for each in found.groups() if each), "")
                return _shorten(line), failure.hint.format(group[:_LINE_MAX])
    told = [line for line in lines if not _NOISE.search(line) and not _POINTS_UP.search(line)]
    telling = [line for line in told if _TELLING.search(line)] or told
    return _shorten(telling[-1]) if telling else "", _KILLED if returncode in (-9, 137) else ""


def last_lines(lines: list[str]) -> str:
    """The end of a log, as it is shown below the sentence."""
    shown = [line for line in lines if line.strip()][-_LINES_SHOWN:]
    return "\n".join(f"    | {_shorten(line)}" for line in shown)


def _shorten(line: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
    return text if len(text) <= _LINE_MAX else text[: _LINE_MAX - 2] + " …"
