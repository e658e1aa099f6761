"""What any number in flight would give at best, from the tokens/s that two numbers in flight gave.

A batch's pace slows down in proportion to its size at the least favourable: N in flight give X = N / (a + b·N)
tokens/s, so two of them give 1/b, the most that any number would. Completions prove nothing: they fall while a server
fills. It must never take the figures at their most likely: the larger number in flight counts with the upper end of
what it gave, the smaller one with the lower end.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from loadgen.analysis.data import RunData
from loadgen.analysis.findings import Code, Finding, finding
from loadgen.analysis.flow import Flow
from loadgen.analysis.sequential import FINE, batch_mean
from loadgen.units import NS_PER_S, format_number

CROWDED = 2.0  # times as many in flight: what they give then is worth a comparison
SHORT_OF = 0.8  # of the tokens asked for: what stays below even at best is too little
EARLY, LATE = (0.15, 0.4), (0.7, 1.0)  # of the load: while it fills, and at its end
ARRIVALS_MIN = 100


class Gave(NamedTuple):
    """What a number in flight gave: tokens/s, and the two ends of their interval."""

    in_flight: float
    tokens_per_s: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Crowding:
    """By what few and many in flight gave, no number gives more than `most` tokens/s, and `asked` are asked for."""

    few: Gave
    many: Gave
    most: float
    asked: float

    def finding(self, at: str = "") -> Finding:
        """SATURATED, with these numbers; `at`: where the few were."""
        few, gave, many, late, most, asked = map(format_number, (*self.few[:2], *self.many[:2], self.most, self.asked))
        seen = f"{few} in flight{at} gave {gave} tok/s, {many} gave {late}: by that no number in flight gives more than"
        seen += f" {most}, and {asked} are asked for."
        return replace(finding(Code.SATURATED, achieved="", offered="", backlog=""), seen=seen)


def crowding(few: Gave, many: Gave, asked: float) -> Crowding | None:
    """None unless the most that any number in flight gives is certainly too little."""
    share = few.in_flight / many.in_flight if many.in_flight else 1.0
    if share > 1 / CROWDED or few.low <= 0 or many.high <= 0:
        return None
    slope = (1 / many.high - share / few.low) / (1 - share)
    return Crowding(few, many, 1 / slope, asked) if slope * SHORT_OF * asked > 1 else None


def crowding_within(run: RunData, flow: Flow, end_ns: float) -> Crowding | None:
    """The same of one load whose answers outlast it, early and late."""
    due = flow.due_ns <= end_ns
    lengths = run.columns["planned_output_tokens"][due]
    if flow.loop != "open" or int(due.sum()) < ARRIVALS_MIN or np.isnan(lengths).any():
        return None
    asked = float(lengths.sum()) / end_ns * NS_PER_S
    seen = []
    for part in (EARLY, LATE):
        edges_ns = np.linspace(part[0] * end_ns, part[1] * end_ns, FINE + 1)
        gave = batch_mean(run.tokens.between(edges_ns) / np.diff(edges_ns) * NS_PER_S)
        level = flow.in_flight.mean(float(edges_ns[0]), float(edges_ns[-1]))
        seen.append(Gave(level, gave.value, gave.low, gave.high))
    early, late = seen
    return crowding(early, late, asked)
