"""`loadgen replay` over sockets: counts, lengths, times and sessions are the trace's; the round trip too."""

import json
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loadgen.records import folder as run_folder
from loadgen.trace.load import load_trace

from .conftest import HeldServer

ENGINE = "simulator --ttft-ms 30 --itl-ms 2 --max-num-seqs 64"
SECOND = 1_000_000_000


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A Mooncake trace."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def talks(path: Path) -> Path:
    """Our own format: two conversations of three turns, 300 ms apart as recorded, each answer of 200 ms."""
    head = {"loadgen_trace": 1, "zero": "2026-01-01T00:00:00+00:00", "block_tokens": 16}
    rows = [
        {
            "arrival_ns": (300 * turn + 100 * talk) * 1_000_000,
            "duration_ns": 200_000_000,
            "ttft_ns": None,
            "input_tokens": 40 + 60 * turn,
            "output_tokens": 100,
            "status": 200,
            "stream": True,
            "model": "m",
            "session": f"talk-{talk}",
            "blocks": [1000 * talk + block for block in range(-(-(40 + 60 * turn) // 16))],
        }
        for turn in range(3)
        for talk in range(2)
    ]
    return written(path, [head, *rows])


def mooncake(path: Path, n: int = 30) -> Path:
    rows = [
        {
            "timestamp": 40 * row,
            "input_length": 600 + row,
            "output_length": 3 + row % 5,
            "hash_ids": [0, 1 + row],
        }
        for row in range(n)
    ]
    return written(path, rows)


def records(folder: str) -> dict[str, np.ndarray[Any, Any]]:
    table = pa.Table.from_batches(run_folder.read_records(Path(folder))).to_pydict()
    order = np.argsort(table["index"])
    return {
        name: np.array(table[name], object)[order]
        for name in ("index", "issued_ns", "done_ns", "input_tokens", "output_tokens")
    }


def test_counts_and_lengths_are_the_traces(command, elsewhere: Path) -> None:
    path = mooncake(elsewhere / "moon.jsonl")
    code, out, err = command("replay", str(path), "--engine", ENGINE, "--out", "r", "--json")
    assert err == ""
    assert code in (0, 3)  # 3: a busy machine was late
    (point,) = json.loads(out)["points"]
    found = records("r")
    assert found["input_tokens"].tolist() == [600 + row for row in range(30)]
    assert found["output_tokens"].tolist() == [3 + row % 5 for row in range(30)]
    told = point["replay"]
    assert (told["sent"], told["requests"], told["format"]) == (30, 30, "Mooncake")
    assert told["hit_rate_ideal"] == pytest.approx(29 * 512 / sum(600 + row for row in range(30)))
    assert [each["sent"] for each in told["minutes"]] == [30]
    gaps_ms = np.diff(found["issued_ns"].astype(float)) / 1e6
    assert gaps_ms.sum() == pytest.approx(29 * 40, abs=60)


def test_a_window_twice_as_fast_and_every_row_too_long_is_counted(command, elsewhere: Path) -> None:
    path = mooncake(elsewhere / "moon.jsonl")
    arguments = ("replay", str(path), "--engine", f"{ENGINE} --max-model-len 620", "--json")
    _, out, _ = command(*arguments, "--window", "0..800ms", "--speed", "2", "--out", "skipped")
    told = json.loads(out)["points"][0]["replay"]
    left_out = sum(600 + row + 3 + row % 5 > 620 for row in range(20))
    assert told["sent"] == 20 - left_out
    assert told["rows_treated"] == {"longer than the context of 620: left out": left_out}
    _, out, _ = command(*arguments, "--window", "0..800ms", "--rows", "overflow=clamp", "--out", "cut")
    assert json.loads(out)["points"][0]["replay"]["sent"] == 20
    assert records("cut")["input_tokens"].astype(int).max() <= 620


@pytest.mark.parametrize("mode", ["strict", "causal", "closed"])
def test_turns_wait_for_each_other_as_the_mode_says(command, elsewhere: Path, mode: str) -> None:
    path = talks(elsewhere / "talks.jsonl")
    slow = "simulator --ttft-ms 150 --itl-ms 4"  # an answer takes 546 ms where 200 were recorded
    command("replay", str(path), "--engine", slow, "--mode", mode, "--out", "r", "--quiet")
    found = records("r")
    assert len(found["index"]) == 6
    by_length: dict[int, list[int]] = {}
    for row in range(6):
        by_length.setdefault(int(found["input_tokens"][row]), []).append(row)
    first, second = (by_length[length] for length in (40, 100))
    waited = [
        (int(found["issued_ns"][later]) - int(found["done_ns"][earlier])) / 1e6
        for earlier, later in zip(first, second, strict=True)
    ]
    if mode == "strict":
        assert all(each < 0 for each in waited)  # the turn before was still running
    elif mode == "causal":
        assert all(each >= 0 for each in waited)
        assert min(waited) < 100  # nobody thinks
    else:
        assert all(each >= 100 for each in waited)  # 300 − 200 ms of thinking


def test_a_killed_replay_has_a_report(held: HeldServer, start: Any, command, elsewhere: Path) -> None:
    rows = [{"timestamp": 40 * row, "input_length": 20, "output_length": 5, "hash_ids": [row]} for row in range(90_000)]
    started = start("replay", str(written(elsewhere / "hour.jsonl", rows)), "--base-url", held.url, "--out", "r")
    held.wait_for(finished=60)
    started.process.kill()
    started.process.wait()
    code, out, err = command("report", "r")
    assert (code, err) == (0, "")
    assert "requests were not sent" in out
    told = json.loads((elsewhere / "r" / run_folder.SUMMARY).read_text())["points"][0]["replay"]
    assert 0 < told["sent"] < told["requests"] == 90_000
    assert told["faithful"] is False
    assert f"{90_000 - told['sent']} requests were not sent" in told["faults"]
    assert "requests were not sent" in (elsewhere / "r" / run_folder.REPORT).read_text()


def agent(path: Path) -> Path:
    """Weka's format, one session: a request, a sub-agent of two that is waited for and one that is not, a second
    request, one without an answer."""

    def call(t: float, tokens: int, out: int, **given: Any) -> dict[str, Any]:
        ids = [1000 * tokens + k for k in range(tokens // 64)]
        return {"t": t, "type": "n", "model": "m", "in": tokens, "out": out, "hash_ids": ids} | given

    inner = [call(0.0, 300, 5, api_time=1.0), call(2.0, 320, 5, api_time=1.0)]
    alone = [call(0.0, 350, 700, api_time=1.0)]
    requests = [
        call(0.0, 200, 5, api_time=1.0),
        {
            "t": 2.0,
            "type": "subagent",
            "agent_id": "b",
            "duration_ms": None,
            "status": "async_launched",
            "requests": alone,
        },
        {"t": 6.0, "type": "subagent", "agent_id": "a", "duration_ms": 4000, "status": "completed", "requests": inner},
        call(8.0, 400, 5, api_time=1.0, think_time=2.0),
        call(12.0, 450, 0, api_time=0.5),
    ]
    session = {"id": "s", "models": ["m"], "block_size": 64, "hash_id_scope": "local", "requests": requests}
    path.write_text(json.dumps(session))
    return path


@pytest.mark.parametrize("mode", ["strict", "causal", "closed"])
def test_sub_agents_are_started_and_joined_as_they_were(command, elsewhere: Path, mode: str) -> None:
    """Four times as fast against answers of 0.7 s and more: who waits is told from who goes at the recorded time."""
    engine = "simulator --ttft-ms 700 --itl-ms 3"
    path = agent(elsewhere / "agent.json")
    _, out, _ = command(
        *("replay", str(path), "--engine", engine, "--mode", mode, "--speed", "4", "--out", "r", "--json")
    )
    told = json.loads(out)["points"][0]["replay"]
    assert told["rows_treated"] == {"no output recorded: left out": 1}
    assert (told["sent"], told["sessions"]) == (5, 1)
    found = records("r")
    at = {int(found["input_tokens"][k]): k for k in range(5)}
    issued_s, done_s = (
        {tokens: float(found[name][k]) / SECOND for tokens, k in at.items()} for name in ("issued_ns", "done_ns")
    )
    start_s = issued_s[200]
    if mode == "strict":
        recorded_s = {200: 0.0, 350: 0.5, 300: 0.5, 320: 1.0, 400: 2.0}
        assert {tokens: pytest.approx(each - start_s, abs=0.1) for tokens, each in issued_s.items()} == recorded_s
        return
    for later, earlier in ((350, 200), (300, 200), (320, 300), (400, 320)):
        assert issued_s[later] >= done_s[earlier]
    assert issued_s[400] - done_s[320] < (0.75 if mode == "closed" else 0.2)  # it waited for nothing else
    assert issued_s[400] < done_s[350]  # nobody waits for what was launched and left
    if mode == "closed":
        assert issued_s[320] - done_s[300] >= 0.25  # a second of thinking, four times as fast


def test_replay_capture_and_load_again_give_the_same(command, elsewhere: Path) -> None:
    """Arrivals within the clock's error, lengths, sharing: what the proxy wrote is the trace that was replayed."""
    path = mooncake(elsewhere / "moon.jsonl")
    loadgen = [sys.executable, "-m", "loadgen"]
    with ExitStack() as stack:

        def start(*words: str) -> tuple[subprocess.Popen[str], str]:
            process = stack.enter_context(subprocess.Popen([*loadgen, *words], stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process, re.search(r"http://[\d.:]*\d", process.stdout.readline()).group(0)

        _, upstream = start("serve", *ENGINE.split(), "--port", "0")
        arguments = ("--upstream", upstream, "--listen", "127.0.0.1:0", "--out", "cap", "--block", "512")
        proxy, front = start("capture", *arguments)
        command("replay", str(path), "--base-url", front, "--out", "r", "--quiet")
        proxy.send_signal(signal.SIGINT)
        assert "recorded" in proxy.stdout.read()
    wanted, got = load_trace(path), load_trace(Path("cap/trace.jsonl"))
    sent = got.input_tokens >= 600  # without the probes before the run
    assert sent.sum() == len(wanted)
    np.testing.assert_array_equal(got.input_tokens[sent], wanted.input_tokens)
    np.testing.assert_array_equal(got.output_tokens[sent], wanted.output_tokens)
    shift_ns = (got.arrival_ns[sent] - wanted.arrival_ns).astype(float)
    assert np.ptp(shift_ns) < 0.1 * SECOND
    ids = [got.blocks.of(row).tolist() for row in np.flatnonzero(sent)]
    assert len({each[0] for each in ids}) == 1  # the shared first block
    assert len({each[1] for each in ids}) == len(ids)


@pytest.mark.parametrize(("cache", "equal"), [("", True), (" --kv-cache-tokens 512", False)])
def test_prefixes_are_shared_as_recorded_by_the_servers_own_count(
    command, elsewhere: Path, cache: str, equal: bool
) -> None:
    """Blocks of 512 that all, three or no others share, in turn with a second group, so that a small cache forgets."""
    rows = [
        {
            "timestamp": 25 * row,
            "input_length": 1536 + 100 + row,
            "output_length": 400 if row == 29 else 3,  # the last one leaves time to read the counters
            "hash_ids": [1000 * (row % 2), 1000 * (row % 2) + 1 + row // 6, 5000 + row, 6000 + row],
        }
        for row in range(30)
    ]
    path = written(elsewhere / "shared.jsonl", rows)
    engine = f"simulator --ttft-ms 30 --itl-ms 4 --prefix-cache{cache}"
    _, out, _ = command("replay", str(path), "--engine", engine, "--out", "r", "--json")
    told = json.loads(out)["points"][0]["replay"]
    shared = 28 * 512 + 20 * 512  # all but the first of two groups, all but the first of ten
    assert told["hit_rate_ideal"] == pytest.approx(shared / sum(1636 + row for row in range(30)))
    if equal:
        assert told["hit_rate_observed"] == pytest.approx(told["hit_rate_ideal"], abs=16 / 1636)
    else:
        assert told["hit_rate_observed"] < told["hit_rate_ideal"] / 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--speed", "0"), "above 0"),
        (("--window", "20m..10m"), "earlier time first"),
        (("--window", "10m"), "10m..20m"),
        (("--window", "10m..20m"), "nothing of the trace"),
        (("--mode", "loose"), "strict, causal, closed"),
        (("--rows", "zero=maybe"), "no policy"),
        (("--sample-sessions", "0%"), "not a share"),
        (("--dataset", "s2s"), "unknown option"),
    ],
)
def test_bad_input_is_one_sentence(command, elsewhere: Path, flags: tuple[str, ...], words: str) -> None:
    code, out, err = command("replay", str(mooncake(elsewhere / "moon.jsonl")), "--engine", ENGINE, *flags)
    assert (code, out) == (2, "")
    assert words in err.lower()
    assert "Traceback" not in err


def test_a_file_that_is_not_there_or_no_trace(command, elsewhere: Path) -> None:
    (elsewhere / "odd.txt").write_text("hello\nworld\n")
    for path in ("missing.jsonl", "odd.txt"):
        code, _, err = command("replay", path, "--engine", ENGINE)
        assert code == 2
        assert path in err
        assert "Traceback" not in err
