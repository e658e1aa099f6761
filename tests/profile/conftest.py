"""Lets the tests here import `profiles`, and skips what needs torch where there is none."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def torch() -> ModuleType:
    """Only the extra `profile` brings it."""
    return pytest.importorskip("torch", reason="torch is not installed: pip install 'loadgen[profile]'")
