"""Both alarms, on the machine's own clock for a few milliseconds: never early, once, and silent when disarmed."""

import asyncio
import sys
import time

import pytest

from loadgen.simulator.__main__ import new_event_loop
from loadgen.simulator.alarm import Alarm, LoopAlarm, TimerFdAlarm
from loadgen.units import NS_PER_MS

KINDS = [LoopAlarm, pytest.param(TimerFdAlarm, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only"))]


@pytest.mark.parametrize("kind", KINDS)
def test_an_alarm_rings_at_its_last_time_and_not_before(kind: type[LoopAlarm] | type[TimerFdAlarm]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        rang_ns: list[int] = []
        rung = asyncio.Event()

        def ring() -> None:
            rang_ns.append(time.monotonic_ns())
            alarm.set(None)
            rung.set()

        alarm: Alarm = kind(loop, ring)
        start_ns = time.monotonic_ns()
        for wait_ns in (60_000 * NS_PER_MS, 1, 4 * NS_PER_MS):  # each replaces the one before
            alarm.set(start_ns + wait_ns)
        await rung.wait()
        assert rang_ns[0] >= start_ns + 4 * NS_PER_MS
        rung.clear()
        alarm.set(start_ns)  # in the past: at once
        await rung.wait()
        alarm.set(time.monotonic_ns() + NS_PER_MS)
        alarm.set(None)
        await asyncio.sleep(0.004)  # long enough to have rung
        assert len(rang_ns) == 2
        alarm.close()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 5))
