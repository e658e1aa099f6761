"""`loadgen batch` over sockets: a server of known timing, whose batches last as long as arithmetic says."""

import json
from pathlib import Path

import pytest

TTFT_MS, ITL_MS, TOKENS, SLOTS = 20, 5, 11, 4
ENGINE = f"simulator --ttft-ms {TTFT_MS} --itl-ms {ITL_MS} --max-num-seqs {SLOTS}"
BATCH_MS = TTFT_MS + (TOKENS - 1) * ITL_MS
ARGUMENTS = ("batch", "--engine", ENGINE, "--output-len", str(TOKENS), "--num-prompts", "8", "--repeats", "2")


def test_throughput_grows_with_the_batch_until_the_slots_are_full(command, elsewhere: Path) -> None:
    code, out, err = command(*ARGUMENTS, "--batch-sizes", "1,4,all", "--out", "b", "--json")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    points = summary["points"]
    assert summary["kind"] == "batch"
    assert [point["batch_size"] for point in points] == [1, 4, 8]
    assert [point["batches"] for point in points] == [16, 4, 2]
    for point in points:
        waves = max(1, point["batch_size"] // SLOTS)
        assert point["mean_batch_latency_ms"] == pytest.approx(waves * BATCH_MS, rel=0.3)
        assert point["mean_batch_latency_ms"] >= waves * BATCH_MS  # no batch overtakes the server
        tokens = point["batches"] * point["batch_size"] * TOKENS
        seconds = point["batches"] * point["mean_batch_latency_ms"] / 1e3
        assert point["output_throughput"] == pytest.approx(tokens / seconds)
        assert point["total_output_tokens"] == tokens
    assert "in batches of" in summary["answer"]

    rebuilt = json.loads(command("report", "b", "--json")[1])
    assert (rebuilt["kind"], rebuilt["answer"]) == ("batch", summary["answer"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--batch-sizes", "0"), "not a list of batch sizes"),
        (("--batch-sizes", "16"), "as many prompts"),
        (("--repeats", "0"), "--repeats"),
        (("--request-rate", "4"), "unknown option"),
    ],
)
def test_bad_input_is_one_sentence(command, flags: tuple[str, ...], words: str) -> None:
    code, out, err = command(*ARGUMENTS, *flags)
    assert (code, out) == (2, "")
    assert words.lower() in err.lower()
    assert "Traceback" not in err
