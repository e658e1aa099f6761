"""HdrHistogram log of a run: a line per metric per second, readable by HdrHistogram's own tools.

Values are µs, 1 µs to one hour, three significant digits. They are counted by their rounded value first, so that the
library is called a few hundred times a second and not once per token. The lines are written here because the library's
own log writer knows no tags (format 1.2 has them, and its reader takes them).
"""

from pathlib import Path

import numpy as np
from hdrh.histogram import HdrHistogram

from loadgen.plan import Int64s
from loadgen.records.writer import disk_error

_LOWEST_US, _HIGHEST_US, _DIGITS, _BITS = 1, 3_600_000_000, 3, 11
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


class HistogramLog:
    """Gathers latencies in ns and writes an interval of each metric when told to."""

    def __init__(self, path: Path, started_s: float) -> None:
        self._path = path
        try:
            self._sink = path.open("w")
        except OSError as error:
            raise disk_error(path, error) from None
        self._sink.write("#[Histogram log format version 1.2]\n")
        self._sink.write(f"#[StartTime: {started_s:.3f} (seconds since epoch)]\n")
        self._sink.write(f"#[BaseTime: {started_s:.3f} (seconds since epoch)]\n{_LEGEND}\n")
        self._pending: dict[str, list[Int64s]] = {}

    def add(self, metric: str, values_ns: Int64s) -> None:
        if len(values_ns):
            self._pending.setdefault(metric, []).append(values_ns)

    def write_interval(self, start_s: float, end_s: float) -> None:
        """One line per metric that had values; times are seconds since the start of the run. Raises RunFolderError."""
        lines = []
        for metric, chunks in self._pending.items():
            histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
            micros = np.clip(np.concatenate(chunks) // 1000, _LOWEST_US, _HIGHEST_US)
            # Where the histogram's own buckets begin: it keeps the upper eleven bits, which make three digits.
            shift = np.maximum(0, np.frexp(micros)[1] - _BITS)
            values, counts = np.unique(micros >> shift << shift, return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                histogram.record_value(value, count)
            top_ms = histogram.get_max_value() / 1000
            payload = histogram.encode().decode("ascii")
            histogram.encoder.histogram = None  # a circle of 100 kB: with it open the histogram goes at once
            lines.append(f"Tag={metric},{start_s:.3f},{end_s - start_s:.3f},{top_ms:.3f},{payload}\n")
        self._pending.clear()
        try:
            self._sink.writelines(lines)
            self._sink.flush()
        except OSError as error:
            raise disk_error(self._path, error) from None

    def close(self) -> None:
        """Raises RunFolderError when the rest cannot be written."""
        try:
            self._sink.close()
        except OSError as error:
            raise disk_error(self._path, error) from None
