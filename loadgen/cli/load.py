"""`loadgen sweep` and `loadgen run`: choose a view, run, show the last screen, set the exit code."""

import contextlib
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from loadgen.cli.flags import read_settings
from loadgen.config import AUTO, BATCH, RUN, SWEEP, Settings
from loadgen.errors import BadInputError, ExitCode
from loadgen.records import folder as run_folder
from loadgen.schedule.batches import parse_batch_sizes
from loadgen.schedule.rate import parse_curve
from loadgen.schedule.rates import parse_rates

_ABOUT = {
    SWEEP: "One open-loop run per request rate: latency, throughput, where the server saturates, and why. Without "
    "--base-url an embedded simulator is started, used and stopped.",
    BATCH: "Offline: a fixed set of prompts in batches, each sent at once when the one before has ended; "
    "token throughput and batch latency against the batch size.",
    RUN: "One run: open loop with --request-rate, closed loop with --max-concurrency, or an open loop with a cap.",
}


def sweep(arguments: list[str]) -> int:
    """`loadgen sweep`."""
    settings = read_settings(SWEEP, _ABOUT[SWEEP], arguments)
    if settings.rates != AUTO:
        parse_rates(settings.rates)
    return _load(SWEEP, settings)


def run(arguments: list[str]) -> int:
    """`loadgen run`."""
    settings = read_settings(RUN, _ABOUT[RUN], arguments)
    if settings.request_rate is None and not settings.max_concurrency:
        settings.request_rate = "8"
    if settings.request_rate is not None:
        parse_curve(settings.request_rate)
    return _load(RUN, settings)


def batch(arguments: list[str]) -> int:
    """`loadgen batch`."""
    settings = read_settings(BATCH, _ABOUT[BATCH], arguments)
    parse_batch_sizes(settings.batch_sizes)
    return _load(BATCH, settings)


def _load(command: str, settings: Settings) -> int:
    from rich.console import Console

    from loadgen.ceiling import warning
    from loadgen.cli.screen import screen
    from loadgen.report.live import choose_view
    from loadgen.report.text import render_final

    folder = settings.out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{command}-{Path(settings.dataset).stem}"
    if folder.exists():
        run_folder.create(folder)  # says that it exists, before anything is started
    if settings.save_vllm and not settings.save_vllm.parent.is_dir():
        raise BadInputError(
            f"There is no folder {settings.save_vllm.parent} for --save-vllm.", "Make it first, or name another file."
        )
    err = Console(stderr=True, highlight=False)
    say = (
        (lambda _: None)
        if settings.quiet or settings.json
        else lambda text: err.print(text, markup=False, soft_wrap=True)
    )
    if settings.engines:
        from loadgen.cli import side_by_side

        def measure(one: Settings, place: Path) -> dict[str, Any]:
            return _measure(command, one, place, say, choose_view(sys.stdout, one.quiet, one.json))

        several = side_by_side.compare(settings, folder, measure, say)
        return side_by_side.exit_code(several, lambda summary: exit_code(summary, settings))
    if (warned := warning(command, settings)) is not None and not (settings.quiet or settings.json):
        err.print(warned, markup=False, soft_wrap=True)
    summary = _measure(command, settings, folder, say, choose_view(sys.stdout, settings.quiet, settings.json))
    if settings.json:
        print(json.dumps(summary))
    else:
        render_final(summary, screen(), str(folder / run_folder.REPORT))
    if settings.save_vllm:
        _save_vllm(settings.save_vllm, folder, summary)
    return exit_code(summary, settings)


def _measure(command: str, settings: Settings, folder: Path, say: Any, view: Any) -> dict[str, Any]:
    from loadgen.batch import batch as run_batch
    from loadgen.prepare import setting_up
    from loadgen.run import DURATION_NS_DEFAULT, run_once
    from loadgen.sweep import sweep as run_sweep

    gc.freeze()  # what is imported by now stays; the decoding beside the load should not be stopped to look at it
    gc.set_threshold(50_000, 20, 100)
    with setting_up(settings, folder, say) as setup, view:
        if settings.rates == AUTO:
            from loadgen.saturate import placing  # 25 ms that no other command need wait for

            placed = placing.rates(setup, folder, observer=view, point_done=view.point_done)
            if placed is None:
                return run_folder.read_json(folder / placing.FOLDER / run_folder.SUMMARY)
            say(f"Sweeping {placed.replace(',', ', ')} req/s.")
            settings.rates = placed
        many = {SWEEP: run_sweep, BATCH: run_batch}.get(command)
        if many is not None:
            return many(setup, folder, observer=view, point_done=view.point_done)
        duration_ns = settings.duration_ns or DURATION_NS_DEFAULT
        rate: str | float | None = settings.request_rate
        with contextlib.suppress(ValueError):  # else it is the text of a curve
            rate = float(rate) if rate is not None else None
        count = settings.num_prompts
        run_once(
            setup, folder, rate=rate, dataset=settings.dataset, duration_ns=duration_ns, count=count, observer=view
        )
    return run_folder.read_json(folder / run_folder.SUMMARY)


def _save_vllm(path: Path, folder: Path, summary: dict[str, Any]) -> None:
    from loadgen.plan import load_plan
    from loadgen.report.export import vllm_result

    records = run_folder.read_records(folder)
    run_folder.write_json(
        path, vllm_result(summary["points"][0], records, summary, load_plan(folder / run_folder.PLAN))
    )


def exit_code(summary: dict[str, Any], settings: Settings) -> int:
    """What the command's result means to a script (docs/cli.md).

    A sweep goes past the saturation point on purpose: that a saturated point is not steady is its answer there, not a
    failure of the measurement. A single run that is not steady is not valid.
    """
    if summary.get("cut"):
        return ExitCode.INTERRUPTED
    points = summary["points"]
    sweeping = summary.get("kind") == "sweep"
    invalid = [p for p in points if p["verdict"] != "VALID" and not (sweeping and _saturated(p))]
    if invalid:
        return ExitCode.NOT_VALID
    if settings.fail_on == "slo" and not all((p.get("slo") or {}).get("met") for p in points):
        return ExitCode.THRESHOLD
    return ExitCode.OK


def _saturated(point: dict[str, Any]) -> bool:
    return point["verdict"] == "NOT_STEADY" and any(f["code"] == "SATURATED" for f in point["findings"])
