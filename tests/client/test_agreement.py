"""The fast transport and the reference one measure the same server: same words, same times."""

import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs import Landing, Rig, run_rig

from loadgen.engines.launch import launch_simulator
from loadgen.exchange import Outcome

TTFT_NS, ITL_NS, TOKENS = 20_000_000, 4_000_000, 10
REQUESTS = 12


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: Path = tmp_path_factory.mktemp("simulator") / "log"
    timing = ["--ttft-ms", str(TTFT_NS / 1e6), "--itl-ms", str(ITL_NS / 1e6)]
    with launch_simulator(timing, log) as launched:
        yield launched.base_url


def words(landing: Landing) -> list[str]:
    """What the answer says, without its request's identity."""
    events = [event.removeprefix("data: ") for event in landing.body.decode().split("\n\n") if event]
    assert events.pop() == "[DONE]"
    return [choice["text"] for event in events for choice in json.loads(event)["choices"]]


def stamps_of_words(landing: Landing) -> list[int]:
    """Of the reads that brought some; the head of the answer comes long before them."""
    return [stamp for stamp, read in zip(landing.stamps_ns, landing.reads, strict=True) if read]


def measure(url: str, transport: str) -> tuple[list[Landing], float, float]:
    """(exchanges, shortest time to the first word in ns, median time between reads in ns)."""
    body = json.dumps({"prompt": "one two", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}).encode()

    async def test(rig: Rig) -> None:
        await rig.exchange(0, body)
        for index in range(1, REQUESTS):
            rig.start(index, body)
        for index in range(1, REQUESTS):
            await rig.landing(index)

    rig = run_rig(url, test, transport=transport, path="/v1/completions")
    landings = [rig.landed[index] for index in range(REQUESTS)]
    times = [stamps_of_words(one) for one in landings]
    first = min(stamps[0] - one.done.issued_ns for one, stamps in zip(landings, times, strict=True))
    gaps = [after - before for stamps in times for before, after in itertools.pairwise(stamps)]
    return landings, first, statistics.median(gaps)


def test_both_transports_agree_with_the_server_and_with_each_other(simulator: str) -> None:
    found = {transport: measure(simulator, transport) for transport in ("socket", "aiohttp")}
    for landings, first_ns, gap_ns in found.values():
        assert {one.done.outcome for one in landings} == {Outcome.OK}
        assert all(len(words(one)) >= TOKENS for one in landings)
        assert TTFT_NS <= first_ns < TTFT_NS + 15_000_000
        assert 0.7 * ITL_NS < gap_ns < 1.3 * ITL_NS
    ours, theirs = found["socket"][0], found["aiohttp"][0]
    assert [len(words(one)) for one in ours] == [len(words(one)) for one in theirs]
    assert all(one.done.kernel_stamps for one in ours)
    assert not any(one.done.kernel_stamps for one in theirs)
