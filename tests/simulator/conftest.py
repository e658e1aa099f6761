"""Virtual time for the engines, and a simulator on a real socket for the rim."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from loadgen.simulator import virtual
from loadgen.simulator.__main__ import new_event_loop
from loadgen.simulator.engine import Engine, FixedEngine
from loadgen.simulator.sequence import Sequence
from loadgen.simulator.server import Simulator
from loadgen.units import NS_PER_MS

Dues = dict[Sequence, list[int]]


@pytest.fixture
def drive() -> Callable[..., Dues]:
    """Run an engine to its end on virtual time; every sequence's token times. Sequences come in order of arrival."""

    def run(engine: Engine, sequences: Iterable[Sequence]) -> Dues:
        sequences = list(sequences)
        dues: Dues = {sequence: [] for sequence in sequences}

        def watch(due_ns: int, emitted: list[Sequence]) -> None:
            for sequence in emitted:
                dues[sequence].append(due_ns)

        virtual.drive(engine, sequences, watch)
        return dues

    return run


@dataclass
class Rim:
    """A running simulator and ways to talk to it."""

    url: str
    session: aiohttp.ClientSession
    engine: Engine

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.url + path, data=data, headers=headers) as response:
            return response.status, await response.json()

    async def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """The JSON of every event of a stream; the mandatory [DONE] is checked and left out."""
        async with self.session.post(self.url + path, json=body | {"stream": True}) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"].startswith("text/event-stream")
            events = (await response.read()).decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until `holds()`; the test as a whole has a time limit."""
        while not holds():  # noqa: ASYNC110 - an engine has no event to wait for
            await asyncio.sleep(0)

    async def metrics(self) -> dict[str, float]:
        async with self.session.get(self.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@pytest.fixture
def with_rim() -> Callable[..., None]:
    """Run a coroutine function against a simulator that listens on a free port."""

    @asynccontextmanager
    async def listening(engine: Engine, options: dict[str, Any]) -> AsyncIterator[Rim]:
        simulator = Simulator(engine, **({"models": ["m"], "max_model_len": 256} | options))
        server = await asyncio.get_running_loop().create_server(simulator.new_connection, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with aiohttp.ClientSession() as session:
                yield Rim(url, session, engine)
        finally:
            server.close()
            await simulator.close()

    def run(
        test: Callable[[Rim], Awaitable[None]],
        engine: Engine | None = None,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
        **options: Any,
    ) -> None:
        async def main() -> None:
            async with listening(engine or FixedEngine(NS_PER_MS, NS_PER_MS, 1000), options) as rim:
                await test(rim)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(main(), 10))

    return run
