"""What every trace must satisfy, whatever it was read from."""

from loadgen.trace import chains
from loadgen.trace.reading import TOKENS_MAX
from loadgen.trace.table import Edge, Trace

COLUMNS = (
    *("arrival_ns", "input_tokens", "output_tokens", "session", "parent", "edge", "think_ns", "duration_ns"),
    *("status", "model", "row"),
)


def check(trace: Trace) -> None:
    """Fails on the first promise of loadgen/trace/table.py that does not hold."""
    n = len(trace)
    assert n > 0
    for name in COLUMNS:
        column = getattr(trace, name)
        assert column.shape == (n,), name
        assert column.dtype == "int64", name
    assert trace.arrival_ns[0] == 0
    assert (trace.arrival_ns[1:] >= trace.arrival_ns[:-1]).all()
    for name in ("input_tokens", "output_tokens"):
        column = getattr(trace, name)
        assert column.min() >= -1, name
        assert column.max() <= TOKENS_MAX, name
    assert trace.think_ns.min() >= -1
    assert trace.duration_ns.min() >= -1
    assert 0 <= trace.status.min() <= trace.status.max() <= 999
    assert 0 <= trace.model.min() <= trace.model.max() < len(trace.models)
    assert trace.row.min() >= 0
    known = set(trace.session.tolist()) - {-1}
    assert known == set(range(len(known)))
    rows = range(n)
    assert all(-1 <= parent < row for row, parent in zip(rows, trace.parent.tolist(), strict=True))
    assert all((e == Edge.NONE) == (p < 0) for e, p in zip(trace.edge.tolist(), trace.parent.tolist(), strict=True))
    assert all(0 <= other < row < n for row, other in trace.joins.tolist())
    assert trace.texts is None or len(trace.texts) == n
    assert sum(trace.survey.dropped.values()) + n <= max(trace.survey.rows_read, n)
    if trace.blocks is not None:
        offsets, ids = trace.blocks.offsets, trace.blocks.ids
        assert trace.blocks.size > 0
        assert offsets.shape == (n + 1,)
        assert offsets[0] == 0
        assert offsets[-1] == len(ids)
        assert (offsets[1:] >= offsets[:-1]).all()
        assert set(ids.tolist()) == set(range(int(ids.max(initial=-1)) + 1))
        assert chains.broken_chain(offsets, ids) is None
        hits = chains.hit_tokens(trace.blocks, trace.input_tokens)
        assert (hits >= 0).all()
        assert (hits <= trace.input_tokens.clip(0)).all()
