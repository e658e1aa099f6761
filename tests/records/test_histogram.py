"""histograms.hlog as the library's own reader sees it."""

import gc
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from loadgen.errors import RunFolderError
from loadgen.records.histogram import HistogramLog

MS = 1_000_000


def read(path: Path) -> tuple[dict[str, list[HdrHistogram]], HistogramLogReader]:
    """The intervals of each tag."""
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3))
    found: dict[str, list[HdrHistogram]] = {}
    while (one := reader.get_next_interval_histogram()) is not None:
        found.setdefault(one.get_tag(), []).append(one)
    reader.close()
    return found, reader


def test_the_librarys_reader_finds_the_right_percentiles(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = {"ttft": rng.lognormal(17, 1, 5000).astype(np.int64), "itl": rng.integers(1000, 90 * MS, 3000)}
    log = HistogramLog(tmp_path / "h.hlog", 1700000000.25)
    for part in range(3):
        for metric, all_of_it in values.items():
            log.add(metric, all_of_it[part::3])
        log.write_interval(part, part + 1)
    log.close()
    found, reader = read(tmp_path / "h.hlog")
    assert reader.get_start_time_sec() == 1700000000.25
    assert {metric: len(intervals) for metric, intervals in found.items()} == {"ttft": 3, "itl": 3}
    for metric, all_of_it in values.items():
        whole = HdrHistogram(1, 3_600_000_000, 3)
        for interval in found[metric]:
            whole.add(interval)
        assert whole.get_total_count() == len(all_of_it)
        for percentile in (1, 50, 90, 99, 100):
            truth_us = np.percentile(all_of_it, percentile, method="inverted_cdf") / 1000
            assert whole.get_value_at_percentile(percentile) == pytest.approx(truth_us, rel=0.003, abs=1)


def test_intervals_stand_at_their_times_and_hold_their_own_values(tmp_path: Path) -> None:
    log = HistogramLog(tmp_path / "h.hlog", 100.0)
    log.add("lag", np.array([5 * MS]))
    log.add("lag", np.array([], np.int64))
    log.write_interval(0, 1)
    log.write_interval(1, 2)  # nothing came: no line
    log.add("lag", np.array([7 * MS, 9 * MS]))
    log.write_interval(2, 3.5)
    log.close()
    (first, second) = read(tmp_path / "h.hlog")[0]["lag"]
    assert (first.get_start_time_stamp(), first.get_end_time_stamp()) == (100_000, 101_000)
    assert (second.get_start_time_stamp(), second.get_end_time_stamp()) == (102_000, 103_500)
    assert (first.get_total_count(), second.get_total_count()) == (1, 2)
    assert second.get_max_value() == pytest.approx(9000, rel=0.001)


def test_values_outside_the_range_are_kept_at_its_ends(tmp_path: Path) -> None:
    log = HistogramLog(tmp_path / "h.hlog", 0.0)
    log.add("lag", np.array([-5, 0, 999, 10**18]))
    log.write_interval(0, 1)
    log.close()
    (only,) = read(tmp_path / "h.hlog")[0]["lag"]
    assert only.get_total_count() == 4
    assert only.get_min_value() == 1
    assert only.get_max_value() == pytest.approx(3_600_000_000, rel=0.001)


def test_a_disk_that_is_full_is_one_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    log = HistogramLog(full, 0.0)
    log.add("lag", np.array([5 * MS]))
    with pytest.raises(RunFolderError, match="No space left on device"):
        log.write_interval(0, 1)
    with pytest.raises(RunFolderError, match="No space left on device"):
        log.close()


def test_a_histogram_leaves_nothing_for_the_collector(tmp_path: Path) -> None:
    """Each is 100 kB and there are four a second: one that waits for the collector is the growth of a long run."""
    log = HistogramLog(tmp_path / "h.hlog", 0.0)
    gc.collect()
    gc.disable()
    try:
        log.add("ttft", np.array([1_000_000]))
        log.write_interval(0.0, 1.0)
        assert not [each for each in gc.get_objects() if isinstance(each, HdrHistogram)]
    finally:
        gc.enable()
    log.close()
