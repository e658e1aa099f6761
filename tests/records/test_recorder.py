"""From messages of the load process to columns: nothing is lost, nothing is made up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from loadgen.exchange import Done, Outcome, Tick
from loadgen.records import folder
from loadgen.records.recorder import Recorder

MS = 1_000_000


def rows(run_folder: Path) -> list[dict[str, Any]]:
    return [row for batch in folder.read_records(run_folder) for row in batch.to_pylist()]


def test_a_row_of_known_truth(tmp_path: Path, plan: Callable[..., Any], exchange: Callable[..., Any]) -> None:
    recorder = Recorder(tmp_path, plan(2), stream=True)
    part, done = exchange(1, 50 * MS, 10 * MS)
    recorder.part(part)
    recorder.done(done)
    recorder.close(100 * MS)
    (row,) = rows(tmp_path)
    wanted = {
        "index": 1,
        "label": "long",
        "due_ns": MS,
        "issued_ns": MS + 10,
        "sent_ns": MS + 20,
        "first_event_ns": 51 * MS,
        "first_token_ns": 51 * MS,
        "last_token_ns": 71 * MS,
        "done_ns": 71 * MS,
        "outcome": "ok",
        "finish_reason": "length",
        "planned_input_tokens": 5,
        "input_tokens": 5,
        "output_tokens": 3,
        "token_source": "usage",
        "stamp_source": "kernel",
        "reused": True,
        "read_delay_max_ns": 1000,
        "token_ns": [51 * MS, 61 * MS, 71 * MS],
        "token_counts": None,
        "body_bytes": len(part.body),
    }
    assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize("pieces", [1, 2, 5, 40])
def test_parts_make_the_same_row_as_the_whole(
    pieces: int, tmp_path: Path, plan: Callable[..., Any], exchange: Callable[..., Any]
) -> None:
    part, done = exchange(0, 50 * MS, MS, tokens=40)
    recorder = Recorder(tmp_path, plan(1), stream=True)
    ends = [0, *np.frombuffer(part.ends, np.int32).tolist()]
    for reads in np.array_split(np.arange(40), pieces):
        start, end = int(reads[0]), int(reads[-1]) + 1
        one = type(part)(
            0,
            part.body[ends[start] : ends[end]],
            (np.array(ends[start + 1 : end + 1], np.int32) - np.int32(ends[start])).tobytes(),
            part.callbacks_ns[8 * start : 8 * end],
            part.kernel_stamps[48 * start : 48 * end],
            part.zero_ns,
        )
        recorder.part(one)
    recorder.done(done)
    recorder.close(100 * MS)
    (row,) = rows(tmp_path)
    assert row["token_ns"] == [(50 + token) * MS for token in range(40)]
    assert (row["outcome"], row["output_tokens"], row["body_bytes"]) == ("ok", 40, len(part.body))


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.CONNECT_ERROR, Outcome.CLIENT_ERROR, Outcome.CENSORED])
def test_an_exchange_without_an_answer_has_nulls_and_no_zeros(
    outcome: Outcome, tmp_path: Path, plan: Callable[..., Any]
) -> None:
    recorder = Recorder(tmp_path, plan(1), stream=True)
    recorder.done(Done(0, 0, 5, -1, 9, 0, outcome, "why", -1, False, 0, True))
    recorder.close(MS)
    (row,) = rows(tmp_path)
    assert (row["outcome"], row["detail"], row["status"]) == (outcome.value, "why", 0)
    for name in ("sent_ns", "first_event_ns", "first_token_ns", "last_token_ns", "read_delay_max_ns"):
        assert row[name] is None, name
    assert row["token_ns"] == []


@pytest.mark.parametrize(
    ("tokens", "options", "expected"),
    [
        (3, {"lengths_asked": True}, (3, "asked")),
        (2, {"lengths_asked": True}, (2, "events")),  # of three: perhaps its context was full
        (2, {"lengths_asked": True, "context_max": 7}, (2, "events")),  # it may hold no more than seven
        (2, {"lengths_asked": True, "context_max": 8}, (3, "asked")),  # prompt and answer fit: it was not full
        (2, {"lengths_asked": True, "shares_events": True}, (3, "asked")),
        (3, {"context_max": 8}, (3, "events")),  # the user asked for another length than the plan's
    ],
)
def test_a_server_that_does_not_count_is_believed_where_it_ended_an_answer_for_its_length(
    tokens: int,
    options: dict[str, Any],
    expected: tuple[int, str],
    tmp_path: Path,
    plan: Callable[..., Any],
    exchange: Callable[..., Any],
) -> None:
    """Three were asked for, after a prompt of five."""
    recorder = Recorder(tmp_path, plan(1), stream=True, **options)
    part, done = exchange(0, 5 * MS, MS, tokens=tokens)
    body, usage, _ = part.body.partition(b'data: {"choices": [], "usage"')
    assert usage
    ends = np.minimum(np.frombuffer(part.ends, np.int32), len(body))
    recorder.part(msgspec.structs.replace(part, body=body, ends=ends.astype(np.int32).tobytes()))
    recorder.done(done)
    recorder.close(100 * MS)
    (row,) = rows(tmp_path)
    assert (row["output_tokens"], row["token_source"]) == expected
    assert row["multi_token_events"] == expected[0] - tokens


def test_rows_reach_the_disk_once_a_second_and_the_rest_at_the_end(
    tmp_path: Path, plan: Callable[..., Any], exchange: Callable[..., Any]
) -> None:
    recorder = Recorder(tmp_path, plan(3), stream=True)
    for index in range(3):
        part, done = exchange(index, 5 * MS, MS)
        recorder.part(part)
        recorder.done(done)
        recorder.tick(Tick((index + 1) * 600 * MS, {"in_flight": 3.0 - index}))
        assert len(rows(tmp_path)) == (0, 2, 2)[index]
    recorder.close(2000 * MS)
    assert [row["index"] for row in rows(tmp_path)] == [0, 1, 2]
    telemetry = folder.read_telemetry(tmp_path)
    assert telemetry is not None
    found = [row["value"] for row in telemetry.to_pylist() if row["name"] == "in_flight"]
    assert found == [3, 2, 1]
    recorded = folder.read_telemetry(tmp_path, client=["issued"])
    assert recorded is None or "in_flight" not in recorded["name"].to_pylist()


def test_the_live_figures_are_of_the_last_five_seconds(
    tmp_path: Path, plan: Callable[..., Any], exchange: Callable[..., Any]
) -> None:
    recorder = Recorder(tmp_path, plan(20), stream=True)
    for index in range(20):
        part, done = exchange(index, 50 * MS, 10 * MS)
        recorder.part(part)
        recorder.done(done)
    rate, tokens, ttft_ms, tpot_ms = recorder.recent.figures(1000 * MS)
    assert (rate, tokens) == (20, 60)
    assert ttft_ms == pytest.approx((50, 50))
    assert tpot_ms == pytest.approx((10, 10))
    assert recorder.recent.figures(6000 * MS) == (0, 0, None, None)
    assert (recorder.recent.completed, recorder.recent.failed) == (20, 0)
    recorder.close(6000 * MS)


def test_the_parquet_file_holds_the_same_rows_in_groups(
    tmp_path: Path, plan: Callable[..., Any], exchange: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_ROW_GROUP", 2)
    recorder = Recorder(tmp_path, plan(5), stream=True)
    for index in range(5):
        part, done = exchange(index, 5 * MS, MS)
        recorder.part(part)
        recorder.done(done)
        recorder.flush((index + 1) * 1000 * MS)
    folder.to_parquet(tmp_path)
    recorder.close(6000 * MS)
    file = pq.ParquetFile(tmp_path / folder.PARQUET)
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [2, 2, 1]
    assert file.read().to_pylist() == rows(tmp_path)


def test_groups_of_rows_grow_with_the_root_of_the_run() -> None:
    """Seven times a group while it is packed, 47 kB of each until the end: no other size needs less of both."""

    def needed(size: int, room: int) -> float:
        return 7 * room + 47_000 * size / room

    assert folder._room(0) == folder._room(100 << 20) == 1 << 20
    for size in (1 << 30, 100 << 30):
        room = folder._room(size)
        assert needed(size, room) < min(needed(size, room // 2), needed(size, room * 2))
