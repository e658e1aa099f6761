"""What a probe saw of a server up to some moment: requests and how far their answers had come, from whatever source.

The columns of a run, a queue in numpy and the simulator all become this, so that what is decided from it can be tested
where the truth is known. A request counts as done little by little, from its first token to its last: the rate in the
long run is that of completions, without the jumps that a batch that ends together makes.
"""

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.sample import Bools, Floats


@dataclass(frozen=True, slots=True)
class Observed:
    """n requests that were due by `until_ns`, ascending in time; float64[n] unless said otherwise, ns, NaN for not yet.

    start_ns        due (open loop), or the moment its slot came free (closed loop)
    first_ns        first output token;  last_ns  last output token
    share           of the answer that had come by `until_ns`: 1 when done, 0 before the first token
    input_tokens    of the prompt;  output_tokens  of the answer, as asked
    failed          bool[n]: ended, and not well
    until_ns        the moment up to which this is the whole truth
    """

    start_ns: Floats
    first_ns: Floats
    last_ns: Floats
    share: Floats
    input_tokens: Floats
    output_tokens: Floats
    failed: Bools
    until_ns: float

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def done(self) -> Bools:
        return ~np.isnan(self.last_ns) & ~self.failed

    @property
    def age_ns(self) -> Floats:
        """From its start to its end, or until now: for what still runs, the least that it will take."""
        return np.where(np.isnan(self.last_ns), self.until_ns, self.last_ns) - self.start_ns

    def upto(self, until_ns: float) -> "Observed":
        """The same as it looked earlier; what had begun by then is taken to have come evenly."""
        seen = self.start_ns <= until_ns
        first_ns, last_ns, share = self.first_ns[seen], self.last_ns[seen], self.share[seen]
        ends_ns = np.where(np.isnan(last_ns), self.until_ns, last_ns)
        begun = first_ns <= until_ns
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(ends_ns > first_ns, (until_ns - first_ns) / (ends_ns - first_ns), 1.0)
        ended = last_ns <= until_ns
        return Observed(
            self.start_ns[seen],
            np.where(begun, first_ns, np.nan),
            np.where(ended, last_ns, np.nan),
            np.where(begun, share * np.clip(part, 0.0, 1.0), 0.0),
            self.input_tokens[seen],
            self.output_tokens[seen],
            self.failed[seen] & ended,
            until_ns,
        )


def arrived(observed: Observed, edges_ns: Floats) -> Floats:
    """float64[len(edges) − 1]: requests that became due between successive edges."""
    return np.diff(np.searchsorted(observed.start_ns, edges_ns, side="right")).astype(np.float64)


def progressed(observed: Observed, edges_ns: Floats, weights: Floats) -> Floats:
    """float64[len(edges) − 1]: Σ weight · share of the answer that came between successive edges, failures left out.

    weights 1 count requests, little by little; the output tokens count tokens; input tokens share their request's fate.
    """
    begun = ~np.isnan(observed.first_ns) & ~observed.failed
    first_ns = observed.first_ns[begun]
    ends_ns = np.where(np.isnan(observed.last_ns), observed.until_ns, observed.last_ns)[begun]
    amount = (observed.share * weights)[begun]
    span_ns = ends_ns - first_ns
    ramp = span_ns > 0
    whole = np.zeros(len(edges_ns))
    order = np.argsort(ends_ns[~ramp])  # an answer of one token comes in one go
    sums = np.concatenate(([0.0], np.cumsum(amount[~ramp][order])))
    whole += sums[np.searchsorted(ends_ns[~ramp][order], edges_ns, side="right")]
    slope = amount[ramp] / span_ns[ramp]
    origin_ns = edges_ns[0]
    for stamps_ns, sign in ((first_ns[ramp], 1.0), (ends_ns[ramp], -1.0)):
        order = np.argsort(stamps_ns)
        slopes = np.concatenate(([0.0], np.cumsum(slope[order])))
        moments = np.concatenate(([0.0], np.cumsum(slope[order] * (stamps_ns[order] - origin_ns))))
        upto = np.searchsorted(stamps_ns[order], edges_ns, side="right")
        whole += sign * (slopes[upto] * (edges_ns - origin_ns) - moments[upto])
    return np.asarray(np.diff(whole), np.float64)
