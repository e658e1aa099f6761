"""What any number in flight would give at best, from the tokens/s that two numbers in flight gave.

A batch's pace slows down in proportion to its size at the least favourable: N in flight give X = N / (a + b·N)
tokens/s, so two of them give 1/b, the most that any number would. Completions prove nothing: they fall while a server
fills. It must never take the figures at their most likely: the larger number in flight counts with the upper end of
what it gave, the smaller one with the lower end.
"""

from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True)
class Crowding:
    """`few` in flight gave `few_gave` tokens/s, `many` gave `many_gave`: `most` at best, and `asked` are asked for."""

    few: float
    few_gave: float
    many: float
    many_gave: float
    most: float
    asked: float

    def finding(self, at: str = "") -> Finding:
        """SATURATED, with these numbers; `at`: where the few were."""
        few, gave, many, late, most, asked = map(
            format_number, (self.few, self.few_gave, self.many, self.many_gave, self.most, self.asked)
        )
        seen = f"{few} in flight{at} gave {gave} tok/s, {many} gave {late}: by that no number in flight gives more than"
        seen += f" {most}, and {asked} are asked for."
        return replace(finding(Code.SATURATED, achieved="", offered="", backlog=""), seen=seen)


def most_tokens(few: float, gave_low: float, many: float, gave_high: float) -> float | None:
    """tokens/s; None where no limit is in sight, or the two are too near to each other."""
    if many < CROWDED * few or gave_low <= 0 or gave_high <= 0:
        return None
    slope = (1 / gave_high - few / many / gave_low) / (1 - few / many)
    return 1 / slope if slope > 0 else None


def crowding(run: RunData, flow: Flow, end_ns: float) -> Crowding | None:
    """A load whose answers outlast it, early and late: None unless a fuller server would certainly give too little."""
    due = flow.due_ns <= end_ns
    lengths = run.columns["planned_output_tokens"][due]
    if flow.loop != "open" or int(due.sum()) < ARRIVALS_MIN or np.isnan(lengths).any():
        return None
    asked = float(lengths.sum()) / end_ns * NS_PER_S
    seen = []
    for part in (EARLY, LATE):
        edges_ns = np.linspace(part[0] * end_ns, part[1] * end_ns, FINE + 1)
        gave = batch_mean(run.tokens.between(edges_ns) / np.diff(edges_ns) * NS_PER_S)
        seen.append((flow.in_flight.mean(float(edges_ns[0]), float(edges_ns[-1])), gave))
    (few, early), (many, late) = seen
    most = most_tokens(few, early.low, many, late.high)
    if most is None or most >= SHORT_OF * asked:
        return None
    return Crowding(few, early.value, many, late.value, most, asked)
