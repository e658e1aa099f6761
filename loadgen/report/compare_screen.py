"""The last screen of a comparison: the answer in words, then a row per engine. The same rows as on the page."""

from typing import Any

from rich.console import Console
from rich.table import Table

from loadgen.report.compare import cap_in_words, rows_of, sentence_of


def render_rows(summary: dict[str, Any], console: Console, report: str) -> None:
    """Print it; `report` is the path that the last line names."""
    console.print(sentence_of(summary), markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("engine", "dataset", "cap", "holds", "peak output", "TTFT p50", "TPOT p50"):
        table.add_column(name, overflow="fold")
    for row in rows_of(summary):
        if row.error:
            table.add_row(row.label, "", "did not run", "", "", "", "")
        else:
            table.add_row(row.label, row.dataset, cap_in_words(row), row.holds, row.peak, row.ttft, row.tpot)
    console.print()
    console.print(table)
    for row in rows_of(summary):
        if row.error:
            console.print(f"{row.label}: {row.error}", markup=False)
    console.print("in brackets: 95 % confidence interval; latency at the highest rate that all of them held")
    console.print(f"\nReport: {report}", markup=False, soft_wrap=True)
