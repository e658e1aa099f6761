"""The measurer measured: point["client"], what our own side did while it was measuring.

Percentiles that telemetry gives per reading are not averaged: the p99 of the readings is taken, which can only be too
high. Dispersion is the variance of counts over their mean in windows of 1, 4 and 10 s: gaps alone do not show bunching.
"""

from typing import Any

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.flow import Flow
from loadgen.analysis.gauges import series
from loadgen.analysis.lag import Lag
from loadgen.analysis.sample import Bools, Floats
from loadgen.analysis.window import Window
from loadgen.units import NS_PER_MS, NS_PER_S

DISPERSION_WIDTHS_S = (1, 4, 10)
DISPERSION_WINDOWS_MIN = 8  # fewer counts have no variance worth a number
CPU_SPAN_NS = 5 * NS_PER_S
GAUGES = (  # of the load process, that are read here; it tells more
    "cpu_fraction",
    "canary_error_ns",
    "read_delay_p99_ns",
    "loop_lag_max_ns",
    "gc_pause_max_ns",
    "clock_step_ns",
)


def client_section(run: RunData, flow: Flow, window: Window, inside: Bools, lag: Lag) -> dict[str, Any]:
    """`inside`: bool[n], the records of the window. Gauges are read from the window's start to the end of the run."""
    columns = run.columns

    def gauge(name: str) -> Any:
        return series(run.telemetry, "client", name).within(window.start_ns, flow.ended_ns)

    cpu, canary = gauge("cpu_fraction"), gauge("canary_error_ns")
    sent_ns = flow.left_ns[inside & ~np.isnan(flow.left_ns)]
    due_ns = np.concatenate((flow.due_ns[inside], flow.unsent_ns[window.holds(flow.unsent_ns)]))
    planned_ns = due_ns if flow.loop == "open" else np.empty(0)
    events = float(np.nansum(columns["events"]))
    return {
        "cpu_fraction": cpu.mean(),
        "cpu_fraction_max": cpu.most_sustained(CPU_SPAN_NS),
        **{f"lag_{name}_ms": _quantile_ms(lag.all_ns, q) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
        "pauses": lag.pauses,
        "read_delay_p99_ms": _read_delay_p99_ms(run, inside, gauge("read_delay_p99_ns").quantile(0.99)),
        **{f"canary_{name}_ms": _to_ms(canary.quantile(q)) for name, q in (("p50", 0.5), ("p99", 0.99))},
        "canary_readings": len(canary),
        "loop_lag_p99_ms": _to_ms(gauge("loop_lag_max_ns").quantile(0.99)),
        "gc_pause_max_ms": _to_ms(gauge("gc_pause_max_ns").most()),
        "clock_step_max_ms": _to_ms(gauge("clock_step_ns").most()),
        "stamp_source": _one_of(columns["stamp_source"]),
        "dispersion": _dispersions(sent_ns, window),
        "planned_dispersion": _dispersions(planned_ns, window),
        "gap_cv": gap_cv(sent_ns),
        "planned_gap_cv": gap_cv(planned_ns),
        "retries": int(np.nansum(columns["retries"])),
        "connections": _connections(run),
        "shared_stamp_share": float(np.nansum(columns["shared_stamps"])) / events if events else None,
    }


def dispersion(stamps_ns: Floats, start_ns: float, end_ns: float, width_ns: float) -> float | None:
    """Variance over mean of the counts in successive windows of `width_ns`; 1 for Poisson; None for too few windows."""
    windows = int((end_ns - start_ns) / width_ns)
    if windows < DISPERSION_WINDOWS_MIN or len(stamps_ns) < windows:
        return None
    counts = np.histogram(stamps_ns, start_ns + width_ns * np.arange(windows + 1))[0]
    return float(counts.var(ddof=1) / counts.mean()) if counts.any() else None


def gap_cv(stamps_ns: Floats) -> float | None:
    """Standard deviation over mean of the gaps; 1 for Poisson, 0 for a constant rate."""
    gaps_ns = np.diff(np.sort(stamps_ns))
    return float(gaps_ns.std() / gaps_ns.mean()) if len(gaps_ns) > 1 and gaps_ns.any() else None


def _dispersions(stamps_ns: Floats, window: Window) -> dict[str, float | None]:
    return {
        f"{width}s": dispersion(stamps_ns, window.start_ns, window.end_ns, width * NS_PER_S)
        for width in DISPERSION_WIDTHS_S
    }


def _read_delay_p99_ms(run: RunData, inside: Bools, reading_ns: float | None) -> float | None:
    """From telemetry; without it the p99 over requests of each one's largest delay."""
    if reading_ns is not None:
        return reading_ns / NS_PER_MS
    return _quantile_ms(run.columns["read_delay_max_ns"][inside], 0.99)


def _connections(run: RunData) -> int:
    used = ~np.isnan(run.columns["connection"]) & (run.columns["connection"] >= 0)
    pairs = np.stack((np.nan_to_num(run.columns["worker"]), run.columns["connection"]))[:, used]
    return int(np.unique(pairs, axis=1).shape[1])


def _quantile_ms(values_ns: Floats, share: float) -> float | None:
    known = values_ns[~np.isnan(values_ns)]
    return float(np.quantile(known, share)) / NS_PER_MS if len(known) else None


def _to_ms(ns: float | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS


def _one_of(texts: Any) -> str | None:
    """The one text that occurs, "mixed" for several, None for none."""
    found = set(texts) - {""}
    return "mixed" if len(found) > 1 else next(iter(found), None)
