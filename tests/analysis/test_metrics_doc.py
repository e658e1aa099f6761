"""docs/metrics.md is executed: its example is summarised, and every number in its tables is compared."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import record, run

from loadgen.analysis.findings import Code
from loadgen.analysis.metrics import METRICS, Pool
from loadgen.analysis.slo import parse_slo
from loadgen.analysis.summary import summarise
from loadgen.analysis.verdict import VERDICTS

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
TEXT = DOC.read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", TEXT, re.MULTILINE)
VALUES = [(key, value) for key, value in ROWS if re.fullmatch(r"[\d.]+|true|false|null", value)]


def example() -> Any:
    block = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert block
    return run([record(**row) for row in json.loads(block[1])], {"request_rate": 1.0})


@pytest.fixture(scope="module")
def point() -> dict[str, Any]:
    text = re.search(r"The SLO is `([^`]+)`", TEXT)
    assert text
    return summarise(example(), parse_slo(text[1]))


def look_up(point: Any, key: str) -> Any:
    if key in point:
        return point[key]
    for part in key.split("."):
        point = point[int(part)] if isinstance(point, list) else point[part]
    return point


def test_the_tables_are_read() -> None:
    assert len(VALUES) == 44  # a row that does not match the pattern would not be tested


@pytest.mark.parametrize(("key", "value"), VALUES)
def test_every_value_is_what_the_page_says(point: dict[str, Any], key: str, value: str) -> None:
    expected = json.loads(value)
    found = look_up(point, key)
    exact = expected is None or isinstance(expected, bool)
    assert found is expected if exact else found == pytest.approx(expected, abs=1e-6)


def test_every_metric_has_its_values_in_the_page() -> None:
    data = example()
    listed = {name: [float(each) for each in re.findall(r"[\d.]+(?= *(?:,|and|$))", cell)] for name, cell in ROWS}
    for metric in METRICS:
        if isinstance(metric.how, Pool):
            zeros = data.columns["extra_tokens"] if metric.how is Pool.TOKENS else np.zeros(3, np.int64)
            sample = data.gaps.samples(np.array([0, 0, -1]), 1, zeros)[0]
            values = sample.at_rank(np.arange(sample.n))
        else:
            values = metric.how(data.columns)[:2]
        assert sorted(values / 1e6) == pytest.approx(sorted(listed[metric.name])), metric.name


def test_the_page_lists_every_verdict_and_finding() -> None:
    for code in (*Code, *VERDICTS, "VALID"):
        assert f"`{code}`" in TEXT, code
