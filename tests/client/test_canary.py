"""The canary: what the stamp of a known write is off by, and nothing when nobody wrote."""

import select
import time
from collections.abc import Iterator

import pytest

from loadgen.client.canary import WRITTEN, Canary
from loadgen.clock import realtime_offset_ns
from loadgen.workers.canary import CanaryWriter, connected_pair

MS = 1_000_000
PATIENCE_S = 10.0


@pytest.fixture
def pair() -> Iterator[tuple[object, Canary]]:
    ends = connected_pair()
    assert ends is not None
    writing, reading = ends
    with writing, reading:
        yield writing, Canary(reading)


def write(writing, *written_ns: int) -> None:
    writing.send(b"".join(map(WRITTEN.pack, written_ns)))


def read(canary: Canary) -> dict[str, float]:
    assert select.select([canary.fd], [], [], PATIENCE_S)[0]
    canary.on_readable()
    return canary.readings(realtime_offset_ns())


def test_the_error_is_what_the_stamp_is_off_by(pair) -> None:
    """A write that claims to be 300 ms old, or to come from the future, is stamped that far off."""
    writing, canary = pair
    write(writing, time.monotonic_ns() - 300 * MS)
    assert read(canary)["canary_error_ns"] == pytest.approx(300 * MS, abs=100 * MS)
    write(writing, time.monotonic_ns() + 300 * MS)
    assert read(canary)["canary_error_ns"] == pytest.approx(300 * MS, abs=100 * MS)


def test_reading_late_is_no_error_of_the_kernels_stamp(pair) -> None:
    writing, canary = pair
    busy_ns = 50 * MS  # the reader is elsewhere for so long
    errors_ns = []
    for _ in range(20):  # Linux begins to stamp a moment after the first socket has asked
        write(writing, time.monotonic_ns())
        select.select([], [], [], busy_ns / 1e9)
        canary.on_readable()
        errors_ns.append(canary.readings(realtime_offset_ns())["canary_error_ns"])
        if errors_ns[-1] < busy_ns / 2:
            return
    raise AssertionError(errors_ns)


def test_of_several_writes_in_one_read_the_last_counts(pair) -> None:
    writing, canary = pair
    write(writing, 0, time.monotonic_ns())
    assert read(canary)["canary_error_ns"] < 100 * MS


def test_nothing_written_is_no_reading_and_what_is_forgotten_neither(pair) -> None:
    writing, canary = pair
    canary.on_readable()
    assert canary.readings(0) == {}
    write(writing, 0)
    assert select.select([canary.fd], [], [], PATIENCE_S)[0]
    canary.forget()
    canary.on_readable()
    assert canary.readings(0) == {}
    write(writing, 0)
    writing.send(b"abc")  # bytes of nobody of ours
    assert select.select([canary.fd], [], [], PATIENCE_S)[0]
    canary.on_readable()
    canary.readings(0)


def test_the_writer_writes_the_time(pair) -> None:
    writing, canary = pair
    writer = CanaryWriter(writing)
    writer.start()
    error_ns = read(canary)["canary_error_ns"]
    writer.stop()
    assert 0 < error_ns < 100 * MS
    assert not writer.is_alive()
