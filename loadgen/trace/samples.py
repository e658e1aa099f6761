"""The small real traces that come with loadgen, by name: to try everything with, and what the tests read."""

from pathlib import Path

import loadgen


def sample(name: str) -> Path | None:
    """The file of a sample, inside an installed package or a checkout; None where there is none of that name."""
    return samples().get(name)


def samples() -> dict[str, Path]:
    """Name → file."""
    package = Path(loadgen.__file__).parent
    for folder in (package / "datasets" / "samples", package.parent / "traces" / "samples"):
        if folder.is_dir():
            return {path.name.partition(".")[0]: path for path in sorted(folder.iterdir()) if path.is_file()}
    return {}
