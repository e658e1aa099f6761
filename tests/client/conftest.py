"""Lets the tests here import `rigs`, and `scripted` and `recorded` from beside them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "wire")]


@pytest.fixture
def peer() -> Iterator[Any]:
    from rigs import Peer

    one = Peer()
    yield one
    one.close()
