"""The timer of the operating system: late by a little, early never."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from loadgen.client import pacer as pacer_module
from loadgen.client.pacer import Pacer
from loadgen.client.timerfd import TimerFd


class NoTimerFd:
    """As on a system that has none."""

    fd = -1


@pytest.fixture(params=["timerfd", "the loop's timer"])
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], Awaitable[None]]], None]:
    if request.param != "timerfd":
        monkeypatch.setattr(pacer_module, "TimerFd", NoTimerFd)

    def run(test: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(test(), 10))

    return run


def test_never_early(run: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    async def test() -> None:
        woken: list[int] = []
        news = asyncio.Event()

        def wake() -> None:
            woken.append(time.monotonic_ns())
            news.set()

        pacer = Pacer(wake)
        for wait_ns in [*range(0, 3_000_000, 111_111), -5_000_000]:
            due_ns = time.monotonic_ns() + wait_ns
            pacer.wake_at(due_ns)
            await news.wait()
            news.clear()
            assert woken[-1] >= due_ns
        pacer.wake_at(0)  # "at once"
        await news.wait()
        assert len(woken) == 30
        pacer.close()

    run(test)


def test_the_last_time_given_counts_and_a_closed_pacer_is_silent(
    run: Callable[[Callable[[], Awaitable[None]]], None],
) -> None:
    async def test() -> None:
        woken: list[int] = []
        news = asyncio.Event()

        def wake() -> None:
            woken.append(time.monotonic_ns())
            news.set()

        pacer = Pacer(wake)
        due_ns = time.monotonic_ns() + 5_000_000
        pacer.wake_at(time.monotonic_ns() + 1_000_000)
        pacer.wake_at(due_ns)
        await news.wait()
        assert woken[0] >= due_ns
        pacer.wake_at(time.monotonic_ns() + 1_000_000)
        pacer.close()
        await asyncio.sleep(0.003)
        assert len(woken) == 1

    run(test)


def test_an_expiry_is_taken_once_and_is_gone_when_armed_again() -> None:
    timer = TimerFd()
    assert not timer.expired()
    timer.at(1)  # long past
    assert timer.expired()
    assert not timer.expired()
    timer.at(1)
    timer.at(time.monotonic_ns() + 3_600_000_000_000)
    assert not timer.expired()
    timer.every(1_000_000)
    timer.every(0)
    assert not timer.expired()
    timer.close()
    timer.close()
