"""docs/roofline.md says what the tables say."""

import re
from pathlib import Path

import pytest

from loadgen.roofline.gpus import GPUS

DOCUMENT = Path(__file__).parents[2] / "docs" / "roofline.md"
ROWS = re.findall(
    r"^\| ([A-Z][\w-]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
)


def test_every_gpu_is_there():
    assert [row[0] for row in ROWS] == list(GPUS)


@pytest.mark.parametrize("row", ROWS)
def test_its_limits_are_those_of_the_table(row):
    gpu = GPUS[row[0]]
    assert [float(cell) for cell in row[1:3]] == [gpu.bf16.value, gpu.bandwidth.value]
    assert float(row[3]) == pytest.approx(gpu.ridge(), abs=0.051)
    assert float(row[4]) == gpu.memory.value
