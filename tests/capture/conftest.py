"""What the tests of the proxy share."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from loadgen.capture import recording

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client, server and proxy share one loop here, and it is late when they are many: that is no overload."""
    monkeypatch.setattr(recording, "LATE_S", 60.0)


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test's coroutine; one that waits for ever fails."""

    def running(test: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(test, 20)

        uvloop.run(bounded())  # as `loadgen capture` does

    return running
