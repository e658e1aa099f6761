"""Makes the length tables of this folder from published statistics alone: `python traces/synthesise.py`.

Rule: every number that goes in stands in `TABLES` below, every random choice comes from one seed, and the same files
come out on every run, byte for byte (`tests/workload/test_tables.py`). The script also writes the table of achieved
against published statistics into README.md, so that no number there is typed by hand. It is apart from the package
because users need the tables, not their making.

How a column is made: the published percentiles fix some order statistics exactly (numpy's linear definition, position
p/100·(n−1)), the published bins bound the others, the gaps are filled in by monotone interpolation, and single tokens
are then moved inside those bounds until sum and standard deviation are met. Two columns are paired by swapping until
both correlation coefficients, Pearson's and Spearman's, have the published value (the source does not say which it is).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadgen.rng import generator

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SEED = 240411502
FOLDER = Path(__file__).parent
EDGE = 100  # the first and the last hundred requests lie outside the paper's measured window
PERCENTS = (0, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99, 100)


@dataclass(frozen=True)
class Column:
    """Published facts about one column; `percentiles` at PERCENTS, None where not published."""

    total: int
    sd: float
    percentiles: tuple[float | None, ...]
    bin_width: int = 0
    bins: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """One dataset: a column is a set of facts, or the same number in every row. `known` says where each comes from."""

    title: str
    n: int
    input_tokens: Column | int
    output_tokens: Column | int
    known: tuple[str, str]
    correlation: float | None = None
    window_output: int | None = None  # output tokens of the rows EDGE … n−EDGE−1


# Prompt lengths exclude the BOS token: the published prompt deciles count it and are lowered by one here.
_S2S_INPUT = Column(29_582, 11.16, (11, 16, 18, 21, 23, 24, 26, 28, 30, 32, 34, 36, 42, 48, 70, 97))
_S2S_OUTPUT = Column(
    26_169,
    11.38,
    (3, 8, 10, 15, 18, 20, 24, 27, 29, 32, 34, 36, 43, 45, 48, 49),
    bin_width=5,
    bins=(26, 61, 91, 121, 125, 190, 151, 93, 75, 67),
)
_S2L_INPUT = Column(25_399, 16.35, (11, 15, 16, 17.8, 18, 19, 20, 21, 23, 25, 27, 29, 38, 49, 87, 300))
_S2L_OUTPUT = Column(
    482_016,
    281.22,
    (3, 33, 97.7, 192, 237, 288, 388.6, 487, 581.4, 677.3, 718, 772, 873, 910, 957, 996),
    bin_width=100,
    bins=(102, 105, 101, 99, 112, 94, 117, 99, 106, 65),
)
_S16K_INPUT = Column(1_796, 7.81, (9, 11, None, None, 16, None, None, 22.5, None, None, 29, None, 32, 34, 38, 40))
_MEASURED = "measured on the original file"

# The file of L2S could not be had. Known: 1,000 requests; one of its texts, 1,000 tokens with BOS after the cut and
# 1,007 with the instruction before it; answers are "short". Assumed: every document was cut like that one, and "short"
# means what it means in S2S, so the answer lengths of S2S are taken.
TABLES = {
    "s2s": Table("S2S", 1000, _S2S_INPUT, _S2S_OUTPUT, (_MEASURED, _MEASURED), correlation=0.09, window_output=21_058),
    "s2l": Table(
        "S2L", 1000, _S2L_INPUT, _S2L_OUTPUT, (_MEASURED, _MEASURED), correlation=-0.26, window_output=383_583
    ),
    "l2s": Table("L2S", 1000, 1_007, _S2S_OUTPUT, ("none: **assumed** from one text", "none: **assumed** as in S2S")),
    "s16k": Table("S-16k", 80, _S16K_INPUT, 16_000, (_MEASURED, "exact: the limit that the experiment forces")),
}


def synthesise(name: str, table: Table) -> tuple[Int64s, Int64s]:
    """The two columns of a dataset, int64[n] each, in file order."""
    rng = generator(SEED, f"traces.{name}")
    inputs = _column(table.input_tokens, table.n, rng)
    outputs = rng.permutation(_column(table.output_tokens, table.n, rng))
    if table.correlation is not None:
        _pair(inputs, outputs, table.correlation, rng)
    order = rng.permutation(table.n)
    if table.window_output is not None:
        _place(order, outputs, table.window_output, rng)
    return inputs[order], outputs[order]


def _column(facts: Column | int, n: int, rng: np.random.Generator) -> Int64s:
    """Sorted integers that meet every published fact about the column."""
    if isinstance(facts, int):
        return np.full(n, facts, dtype=np.int64)
    lowest, highest = _bounds(facts, n)
    values = _interpolate(lowest, highest, facts, n)
    _meet_total(values, lowest, highest, facts.total, rng)
    _meet_sd(values, lowest, highest, facts, rng)
    return np.sort(values)


def _bounds(facts: Column, n: int) -> tuple[Int64s, Int64s]:
    """For every order statistic the lowest and the highest value that percentiles and bins allow."""
    lowest = np.full(n, facts.percentiles[0], dtype=np.int64)
    highest = np.full(n, facts.percentiles[-1], dtype=np.int64)
    if facts.bins:
        edges = np.cumsum(facts.bins)[:-1]
        lowest[edges] = np.arange(1, len(facts.bins)) * facts.bin_width
        highest[edges - 1] = lowest[edges] - 1
    published = zip(PERCENTS, facts.percentiles, strict=True)
    for percent, value in sorted(published, key=lambda pair: 0 < pair[0] < 100):  # the extremes first: they are exact
        for rank, pinned in _order_statistics(percent, value, n) if value is not None else ():
            if lowest[rank] <= pinned <= highest[rank]:
                lowest[rank] = highest[rank] = pinned
    return np.maximum.accumulate(lowest), np.minimum.accumulate(highest[::-1])[::-1]


def _order_statistics(percent: float, value: float, n: int) -> tuple[tuple[int, int], ...]:
    """The neighbouring ranks, and the closest whole numbers there, between which the percentile lies."""
    position = round(percent / 100 * (n - 1), 9)
    rank, fraction = int(position), position - int(position)
    if rank == n - 1:
        return ((rank, round(value)),)
    candidates = [(round(value - fraction * step), step) for step in range(11)]
    low, step = min(candidates, key=lambda pair: (round(abs(pair[0] + fraction * pair[1] - value), 6), pair[1]))
    return ((rank, low), (rank + 1, low + step))


def _interpolate(lowest: Int64s, highest: Int64s, facts: Column, n: int) -> Int64s:
    """Straight lines between the pinned ranks; a power curve behind the last percentile, its exponent set by the sd."""
    pinned = np.flatnonzero(lowest == highest)
    ranks = np.arange(n)
    line = np.interp(ranks, pinned, lowest[pinned])
    tail = ranks > pinned[pinned < n - 1][-1]
    start, end = line[~tail][-1], line[-1]
    along = (line[tail] - start) / max(end - start, 1)
    best = line
    for exponent in np.arange(1, 8, 0.05):
        curve = line.copy()
        curve[tail] = start + (end - start) * along**exponent
        if abs(curve.std() - facts.sd) < abs(best.std() - facts.sd):
            best = curve
    return np.clip(np.rint(best).astype(np.int64), lowest, highest)


def _meet_total(values: Int64s, lowest: Int64s, highest: Int64s, total: int, rng: np.random.Generator) -> None:
    """Move single tokens, each within its bounds, until the sum is exact."""
    while missing := total - int(values.sum()):
        step = 1 if missing > 0 else -1
        movable = np.flatnonzero(values < highest) if step > 0 else np.flatnonzero(values > lowest)
        if not len(movable):
            raise ValueError(f"no column within these percentiles and bins sums to {total}")
        values[rng.permutation(movable)[: abs(missing)]] += step


def _meet_sd(values: Int64s, lowest: Int64s, highest: Int64s, facts: Column, rng: np.random.Generator) -> None:
    """Move a token from one request to another, each within its bounds, while that brings the sd closer."""
    n = len(values)
    error = int((values**2).sum()) - round(n * (facts.sd**2 + (facts.total / n) ** 2))
    for up, down in rng.integers(0, n, (20_000, 2)).tolist():
        change = 2 * int(values[up] - values[down]) + 2
        allowed = up != down and values[up] < highest[up] and values[down] > lowest[down]
        if allowed and abs(error + change) < abs(error):
            values[up] += 1
            values[down] -= 1
            error += change


def _pair(inputs: Int64s, outputs: Int64s, correlation: float, rng: np.random.Generator) -> None:
    """Swap outputs, in place, while that brings Pearson's and Spearman's coefficient closer to the wanted one."""
    x = np.stack([_standardised(inputs), _standardised(_ranks(inputs))])
    y = np.stack([_standardised(outputs), _standardised(_ranks(outputs))])
    seen = (x * y).mean(axis=1)
    for a, b in rng.integers(0, len(inputs), (20_000, 2)).tolist():
        swapped = seen - (x[:, a] - x[:, b]) * (y[:, a] - y[:, b]) / len(inputs)
        if np.abs(swapped - correlation).sum() < np.abs(seen - correlation).sum():
            outputs[[a, b]], y[:, [a, b]], seen = outputs[[b, a]], y[:, [b, a]], swapped


def _place(order: Int64s, outputs: Int64s, window_output: int, rng: np.random.Generator) -> None:
    """Swap rows between the edges and the middle, in place, until the middle has the published sum of output tokens."""
    n = len(order)
    inside, outside = np.arange(EDGE, n - EDGE), np.r_[0:EDGE, n - EDGE : n]
    for a, b in zip(rng.choice(inside, 20_000).tolist(), rng.choice(outside, 20_000).tolist(), strict=True):
        missing = window_output - int(outputs[order[inside]].sum())
        if abs(missing - int(outputs[order[b]] - outputs[order[a]])) < abs(missing):
            order[[a, b]] = order[[b, a]]


def _ranks(values: Int64s) -> Floats:
    """Ranks with ties averaged, as Spearman's coefficient wants them."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _standardised(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    standardised: Floats = (array - array.mean()) / array.std()
    return standardised


def csv_text(inputs: Int64s, outputs: Int64s) -> str:
    rows = zip(inputs.tolist(), outputs.tolist(), strict=True)
    return "input_tokens,output_tokens\n" + "".join(f"{i},{o}\n" for i, o in rows)


def statistics(name: str, table: Table, inputs: Int64s, outputs: Int64s) -> list[str]:
    """Rows of the README's table: achieved, then the published value in brackets where there is one."""
    lines = []
    sides = (("input", table.input_tokens, inputs), ("output", table.output_tokens, outputs))
    for (side, facts, values), known in zip(sides, table.known, strict=True):
        published = facts if isinstance(facts, Column) and known == _MEASURED else None
        cells = [
            _cell(values.sum(), published.total if published else None, ",.0f"),
            _cell(values.mean(), published.total / table.n if published else None, ",.2f"),
            _cell(values.std(), published.sd if published else None, ".2f"),
        ]
        for percent in (0, 5, 25, 50, 75, 95, 99, 100):
            value = published.percentiles[PERCENTS.index(percent)] if published else None
            cells += [_cell(float(np.percentile(values, percent)), value, ",.1f")]
        lines.append(f"| `{name}.csv` | {table.title} | {table.n:,} | {side} | {known} | {' | '.join(cells)} |")
    return lines


def _cell(achieved: float, published: float | None, form: str) -> str:
    texts = [f"{value:{form}}".removesuffix(".0") for value in (achieved, published) if value is not None]
    return texts[0] + "".join(f" ({text})" for text in texts[1:])


def relations(table: Table, inputs: Int64s, outputs: Int64s) -> str | None:
    """A row on how the columns hang together, None where nothing is published."""
    if table.correlation is None or table.window_output is None:
        return None
    pearson = np.corrcoef(inputs, outputs)[0, 1]
    spearman = np.corrcoef(_ranks(inputs), _ranks(outputs))[0, 1]
    window = outputs[EDGE:-EDGE].sum()
    return (
        f"| {table.title} | {pearson:+.3f} ({table.correlation:+.2f}) | {spearman:+.3f} ({table.correlation:+.2f}) "
        f"| {window:,} ({table.window_output:,}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the length tables and the statistics in README.md.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the tables; README.md there is updated")
    out: Path = parser.parse_args().out
    percents = "min | p5 | p25 | p50 | p75 | p95 | p99 | max"
    rows = [f"| file | dataset | rows | tokens | published statistics | sum | mean | sd | {percents} |"]
    rows += ["|---" * 16 + "|"]
    together = ["", "| dataset | Pearson | Spearman | output tokens of rows 100 to 899 |", "|---|---|---|---|"]
    for name, table in TABLES.items():
        inputs, outputs = synthesise(name, table)
        (out / f"{name}.csv").write_text(csv_text(inputs, outputs), encoding="ascii", newline="\n")
        rows += statistics(name, table, inputs, outputs)
        together += filter(None, [relations(table, inputs, outputs)])
    text = "\n".join(rows + together)
    print(text)
    readme = out / "README.md"
    if readme.exists():
        before, after = readme.read_text(encoding="utf-8").split("<!-- statistics -->\n")[::2]
        marked = f"<!-- statistics -->\n{text}\n<!-- statistics -->\n"
        readme.write_text(before + marked + after, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
