"""docs/results/h200/engines.md says what engines.json holds: tables, curves and the figures of its first table."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import h200_page  # noqa: E402  (a script, not a package)


@pytest.fixture
def found() -> dict[str, Any]:
    return dict(json.loads(h200_page.FIGURES.read_text()))


def test_the_tables_are_those_of_the_figures(found: dict[str, Any]) -> None:
    page = h200_page.PAGE.read_text()
    assert page.count("<!-- end -->") == 7
    assert h200_page.fill(page, found) == page, "run examples/h200_page.py"


def test_the_curves_are_those_of_the_figures(
    found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h200_page, "PLACE", tmp_path)
    h200_page.curves(found)
    drawn = sorted(tmp_path.glob("*.svg"))
    assert len(drawn) == 12
    for path in drawn:
        assert path.read_text() == (h200_page.PAGE.parent / path.name).read_text(), path.name


def test_what_is_quoted_stands_in_a_table() -> None:
    short, _, rest = h200_page.PAGE.read_text().partition("What stops them")
    quoted = re.findall(r"\*\*([^*]+)\*\*", short)  # the figures with intervals
    quoted += re.findall(r"\d+(?:\.\d+)? ms\b|\d,\d{3}", short)
    assert len(quoted) >= 12
    for figure in quoted:
        assert figure.removesuffix(" ms") in rest, figure
