"""The length tables have the published statistics, and the script makes them again byte for byte."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

TRACES = Path(__file__).parents[2] / "traces"
DECILES = range(0, 101, 10)


def column(name: str, number: int) -> npt.NDArray[np.int64]:
    return np.loadtxt(TRACES / f"{name}.csv", delimiter=",", skiprows=1, dtype=np.int64)[:, number]


def ranks(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Ties averaged, by definition: how many are smaller, and half of the equal others."""
    return (values[:, None] > values).sum(axis=1) + ((values[:, None] == values).sum(axis=1) - 1) / 2


@pytest.mark.parametrize(
    ("name", "number", "total", "mean", "sd"),
    [
        ("s2s", 0, 29_582, 29.58, 11.16),
        ("s2s", 1, 26_169, 26.17, 11.38),
        ("s2l", 0, 25_399, 25.40, 16.35),
        ("s2l", 1, 482_016, 482.02, 281.22),
        ("s16k", 0, 1_796, 22.45, 7.81),
    ],
)
def test_sum_mean_and_spread_are_the_published_ones(name: str, number: int, total: int, mean: float, sd: float) -> None:
    values = column(name, number)
    assert values.sum() == total
    assert values.mean() == pytest.approx(mean, abs=0.005)
    assert values.std() == pytest.approx(sd, rel=0.001)


@pytest.mark.parametrize(
    ("name", "number", "bos", "deciles"),
    [
        ("s2s", 0, 1, [12, 19, 22, 25, 27, 29, 31, 33, 37, 43, 98]),
        ("s2s", 1, 0, [3, 10, 15, 20, 24, 27, 29, 32, 36, 43, 49]),
        ("s2l", 0, 1, [12, 17, 18.8, 20, 21, 22, 24, 26, 30, 39, 301]),
        ("s2l", 1, 0, [3, 97.7, 192, 288, 388.6, 487, 581.4, 677.3, 772, 873, 996]),
    ],
)
def test_deciles_are_the_published_ones(name: str, number: int, bos: int, deciles: list[float]) -> None:
    assert np.percentile(column(name, number) + bos, DECILES) == pytest.approx(deciles, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "number", "percentiles"),
    [
        ("s2s", 0, [11, 16, 23, 28, 34, 42, 48, 70, 97]),
        ("s2s", 1, [3, 8, 18, 27, 34, 43, 45, 48, 49]),
        ("s2l", 0, [11, 15, 18, 21, 27, 38, 49, 87, 300]),
        ("s2l", 1, [3, 33, 237, 487, 718, 873, 910, 957, 996]),
        ("s16k", 0, [9, 11, 16, 22.5, 29, 32, 34, 38, 40]),
    ],
)
def test_percentiles_and_extremes_are_the_published_ones(name: str, number: int, percentiles: list[float]) -> None:
    achieved = np.percentile(column(name, number), [0, 5, 25, 50, 75, 90, 95, 99, 100])
    assert achieved == pytest.approx(percentiles, abs=0.5)  # they are published as whole numbers
    assert achieved[[0, -1]].tolist() == [percentiles[0], percentiles[-1]]


@pytest.mark.parametrize(
    ("name", "width", "bins"),
    [
        ("s2s", 5, [26, 61, 91, 121, 125, 190, 151, 93, 75, 67]),
        ("s2l", 100, [102, 105, 101, 99, 112, 94, 117, 99, 106, 65]),
    ],
)
def test_answer_lengths_fill_the_published_bins(name: str, width: int, bins: list[int]) -> None:
    assert np.bincount(column(name, 1) // width).tolist() == bins


@pytest.mark.parametrize(("name", "correlation", "window"), [("s2s", 0.09, 21_058), ("s2l", -0.26, 383_583)])
def test_rows_hang_together_as_published(name: str, correlation: float, window: int) -> None:
    inputs, outputs = column(name, 0), column(name, 1)
    assert np.corrcoef(ranks(inputs), ranks(outputs))[0, 1] == pytest.approx(correlation, abs=0.005)
    assert np.corrcoef(inputs, outputs)[0, 1] == pytest.approx(correlation, abs=0.005)
    assert outputs[100:900].sum() == window


def test_every_table_has_its_rows() -> None:
    assert {name: len(column(name, 0)) for name in ("s2s", "s2l", "l2s", "s16k")} == {
        "s2s": 1000,
        "s2l": 1000,
        "l2s": 1000,
        "s16k": 80,
    }
    assert set(column("s16k", 1).tolist()) == {16_000}


def test_l2s_is_what_the_readme_says_it_is() -> None:
    assert set(column("l2s", 0).tolist()) == {1_007}
    assert np.array_equal(np.sort(column("l2s", 1)) // 5, np.sort(column("s2s", 1)) // 5)
    assert column("l2s", 1).sum() == column("s2s", 1).sum()


def test_the_script_makes_the_same_files_again(tmp_path: Path) -> None:
    readme = (TRACES / "README.md").read_text(encoding="utf-8")
    before, _, after = readme.split("<!-- statistics -->\n")
    (tmp_path / "README.md").write_text(
        f"{before}<!-- statistics -->\nold\n<!-- statistics -->\n{after}", encoding="utf-8"
    )
    subprocess.run([sys.executable, TRACES / "synthesise.py", "--out", tmp_path], check=True, stdout=subprocess.DEVNULL)
    for name in ("s2s.csv", "s2l.csv", "l2s.csv", "s16k.csv", "README.md"):
        assert (tmp_path / name).read_bytes() == (TRACES / name).read_bytes(), name


def test_the_script_needs_no_readme_beside_the_tables(tmp_path: Path) -> None:
    shutil.copy(TRACES / "s2s.csv", tmp_path / "wanted.csv")
    subprocess.run([sys.executable, TRACES / "synthesise.py", "--out", tmp_path], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "s2s.csv").read_bytes() == (tmp_path / "wanted.csv").read_bytes()
