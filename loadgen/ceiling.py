"""What this client can do on this machine: `loadgen calibrate` writes it into the user's cache, runs ask it.

A ceiling of another machine, another Python or another release says nothing and is passed over in silence. It must
never stop a run: it warns.
"""

import math
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import loadgen
from loadgen.config import AUTO, RUN, SWEEP, Settings
from loadgen.errors import BadInputError, LoadgenError
from loadgen.prepare import lengths_of
from loadgen.records.folder import read_json, write_json
from loadgen.schedule.rate import parse_curve
from loadgen.schedule.rates import parse_rates
from loadgen.units import format_number

PLACE = "LOADGEN_CALIBRATION"  # the environment's name for another file
_SAMPLE = 256  # requests whose answers' mean length is taken

Ceiling = dict[str, Any]


def cache_path() -> Path:
    """$LOADGEN_CALIBRATION, or calibration.json in loadgen's folder of the user's cache (XDG)."""
    named = os.environ.get(PLACE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadgen" / "calibration.json"


def machine() -> dict[str, Any]:
    """What a calibration holds for; the name of the machine is nobody's business."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "loadgen": loadgen.__version__,
    }


def check_place(place: Path) -> None:
    """Make the folder and try to write there: before half a minute of work, not after. Raises BadInputError."""
    if place.is_dir():
        raise BadInputError(f"{place} is a folder.", "Name a file, for instance calibration.json in it.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise BadInputError(
            f"Cannot write to {place.parent}: {error.strerror}.", "Name another file with --out."
        ) from None


def keep(found: Ceiling, path: Path | None = None) -> Path:
    """Write it down; returns where."""
    place = path or cache_path()
    write_json(place, found)
    return place


def known() -> Ceiling | None:
    """The last calibration of this machine; None when there is none, or it is another's."""
    try:
        found = read_json(cache_path())
    except (OSError, ValueError, LoadgenError):
        return None
    return found if isinstance(found, dict) and found.get("machine") == machine() else None


def warning(command: str, settings: Settings) -> str | None:
    """One sentence when a run or sweep asks for more than this client was seen to do; None when it does not."""
    found = known()
    if found is None:
        return None
    asked = _asked(command, settings)
    beyond = [
        f"{format_number(asked[name])} {unit} (seen to hold: {format_number(most)})"
        for name, unit in UNITS.items()
        if asked.get(name, 0.0) > (most := _most(found, name))
    ]
    if not beyond:
        return None
    return (
        f"Warning: this asks for up to {' and '.join(beyond)} of this client. Points that it cannot hold are marked "
        "CLIENT_LIMITED and do not count."
    )


# what a calibration measures → in words
UNITS = {"requests_per_s": "req/s", "events_per_s": "output tokens/s", "streams": "requests at once"}


def _most(found: Ceiling, name: str) -> float:
    """What was held; when not the client but the null server gave way, nothing is known beyond it."""
    told = found.get(name) or {}
    limited = told.get("limited_by") == "client"
    return float(told.get("value") or math.inf) if limited else math.inf


def _asked(command: str, settings: Settings) -> dict[str, float]:
    """The most that the plan asks for, if the server holds it."""
    rate = 0.0
    if command == SWEEP and settings.rates != AUTO:
        rate = max((each for each in parse_rates(settings.rates) if math.isfinite(each)), default=0.0)
    elif command == RUN and settings.request_rate is not None:
        rate = _steepest(settings.request_rate)
    asked = {"requests_per_s": rate, "streams": float(settings.max_concurrency)}
    if rate and settings.stream:
        dataset = "s2s" if settings.dataset == "all" else settings.dataset
        asked["events_per_s"] = rate * float(lengths_of(settings, dataset, _SAMPLE).output_tokens.mean())
    return asked


def _steepest(text: str) -> float:
    """The highest rate of a curve; 0 for all at once."""
    curve = parse_curve(text)
    rates = [rate for each in curve.stretches for rate in (each.begin, each.end)]
    return max((rate for rate in (*rates, curve.last_rate) if math.isfinite(rate)), default=0.0)
