"""What should happen, as a table drawn before the first byte is sent; saved as `plan.arrow` and never changed.

Arrow is imported where it is used: the load process needs the columns and not 0.1 s of imports.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """n requests in the order of their due times.

    due_ns         int64[n], intended send time from the start of the run, ascending; all 0 for a closed loop
    after          int64[n], index of the request that must have ended first, -1 for none
    think_ns       int64[n], wait after that one ended
    input_tokens   int64[n], planned prompt length;  output_tokens int64[n], asked answer length
    label          int64[n], index into `labels` (s2s, s2l, …)
    in_flight_max  0 for no cap
    stop_ns        no request is sent at or after this time; 0 for "when the plan is through"
    drain_ns       how long to wait for answers after the last due time
    joins          more pairs (request, index that must have ended first): an agent that waits for its sub-agents
    barriers       indexes of requests that wait until all before them have ended: where a batch begins
    """

    due_ns: Int64s
    after: Int64s
    think_ns: Int64s
    input_tokens: Int64s
    output_tokens: Int64s
    label: Int64s
    labels: tuple[str, ...] = ("",)
    in_flight_max: int = 0
    stop_ns: int = 0
    drain_ns: int = 0
    seed: int = 0
    barriers: tuple[int, ...] = ()
    joins: tuple[tuple[int, int], ...] = ()
    shape: dict[str, Any] = field(default_factory=dict)  # how it was drawn: spacing, curve, rate; for the reader

    def __len__(self) -> int:
        return len(self.due_ns)

    @property
    def digest(self) -> str:
        """Equal for equal plans: the proof that two engines were given the same load."""
        hasher = hashlib.blake2b(digest_size=8)
        for name in _COLUMNS:
            hasher.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        hasher.update(repr((self.labels, self.in_flight_max, self.stop_ns, *self.barriers, *self.joins)).encode())
        return hasher.hexdigest()

    def save(self, path: Path) -> None:
        """Write an Arrow IPC file with one row a request and the scalars as metadata."""
        import pyarrow as pa

        scalars = {name: str(getattr(self, name)) for name in ("in_flight_max", "stop_ns", "drain_ns", "seed")}
        scalars |= {
            "shape": json.dumps(self.shape),
            "barriers": json.dumps(self.barriers),
            "joins": json.dumps(self.joins),
        }
        metadata = scalars | {"labels": "\n".join(self.labels), "digest": self.digest}
        table = pa.table({name: getattr(self, name) for name in _COLUMNS}).replace_schema_metadata(metadata)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def load_plan(path: Path) -> Plan:
    """Read what `Plan.save` wrote."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        columns = {name: table[name].to_numpy().copy() for name in _COLUMNS}
        metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    scalars = {name: int(metadata[name]) for name in ("in_flight_max", "stop_ns", "drain_ns", "seed")}
    labels, shape = tuple(metadata["labels"].split("\n")), json.loads(metadata["shape"])
    barriers = tuple(json.loads(metadata.get("barriers", "[]")))
    joins = tuple((index, followed) for index, followed in json.loads(metadata.get("joins", "[]")))
    return Plan(**columns, **scalars, labels=labels, shape=shape, barriers=barriers, joins=joins)  # type: ignore[arg-type]


_COLUMNS = ("due_ns", "after", "think_ns", "input_tokens", "output_tokens", "label")
