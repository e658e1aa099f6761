"""Where real engines are, and loadgen as a user runs it: in this environment, or in one whose interpreter is named.

LOADGEN_PYTHON_VLLM, LOADGEN_PYTHON_TRANSFORMERS, LOADGEN_PYTHON_LLAMA_CPP_PYTHON and LOADGEN_PYTHON_DEEPSPEED_MII name
interpreters. A test whose engine is nowhere is skipped.
"""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.records import folder as run_folder


def interpreter(package: str) -> str:
    """The Python that has it; the test is skipped when none has."""
    named = os.environ.get(f"LOADGEN_PYTHON_{package.removesuffix('-cpu').replace('-', '_').upper()}")
    if named:
        return named
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    return sys.executable


def loadgen(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadgen", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=420
    )


def finish_reasons(run: Path) -> set[str]:
    """Of the answers of a run: `length` alone, when all of them were as long as asked."""
    return {each for batch in run_folder.read_records(run) for each in batch["finish_reason"].to_pylist()}
