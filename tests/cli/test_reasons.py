"""The reason over sockets: each limit provoked in the simulator, a short overload, and what the report says of it.

All of a run is in it: the load process, the scraper, the run folder. The same limits on virtual time, and those that
sockets cannot provoke in seconds, are in tests/analysis/test_reasons.py.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from loadgen.analysis.reasons import limits
from loadgen.analysis.saturation import is_saturated

Command = Callable[..., tuple[int, str, str]]

# what is limited → (simulator options, requests/s, prompt, answer): the code that must come first
OVERLOADS = {
    "LIMIT_SLOTS": ("--gpu h100 --max-num-seqs 8", 60, 32, 40),
    "LIMIT_KV_CACHE": ("--gpu h100 --max-num-seqs 256 --kv-cache-tokens 4096 --max-model-len 512", 60, 64, 120),
    "LIMIT_PREFILL": ("--gpu h100 --max-num-seqs 256", 50, 1800, 8),
    "LIMIT_HTTP": ("--gpu h100 --http-ms 50", 40, 32, 20),
    "LIMIT_ADMISSION": ("--gpu h100 --max-num-seqs 8 --max-queue 4", 60, 32, 40),
}


@pytest.mark.parametrize("code", OVERLOADS)
def test_the_limit_that_was_provoked(command: Command, code: str) -> None:
    options, rate, prompt, answer = OVERLOADS[code]
    _, out, _ = command(
        *("run", "--engine", f"simulator {options}", "--request-rate", str(rate), "--dataset", "random"),
        *("--input-len", str(prompt), "--output-len", str(answer), "--duration", "2500ms", "--drain", "200ms"),
        *("--warmup", "500ms", "--seed", "1", "--json"),
    )
    point: dict[str, Any] = json.loads(out)["points"][0]
    found = limits(point)  # so short a run need not be called saturated
    of_the_server = [each for each in found if each["code"] != "LIMIT_CLIENT"]  # whose lateness a busy machine may be
    assert of_the_server[0]["code"] == code, found
    told = [each for each in point["findings"] if each["code"].startswith("LIMIT_")]
    assert told == (found if is_saturated(point) else [])
    assert "--" in of_the_server[0]["try_next"]  # a flag of the engine at hand
    assert point["server"]["engine"] == "simulator"
    assert point["server"]["cap"] is not None
    assert point["http"]["connect_p50_ms"] < point["http"]["answer_p50_ms"]


def test_a_narrow_way_to_the_server_is_the_network(command: Command) -> None:
    """The engine has room, but connections are let in one by one: the scrapes wait for theirs too."""
    _, out, _ = command(
        *("run", "--engine", "simulator --gpu h100 --max-num-seqs 256 --connect-ms 300", "--request-rate", "60"),
        *("--dataset", "random", "--input-len", "32", "--output-len", "100", "--duration", "3s", "--drain", "200ms"),
        *("--warmup", "500ms", "--seed", "1", "--json"),
    )
    point: dict[str, Any] = json.loads(out)["points"][0]
    of_the_server = [each for each in limits(point) if each["code"] != "LIMIT_CLIENT"]
    assert of_the_server[0]["code"] == "LIMIT_NETWORK", limits(point)
    assert "onnecting took" in of_the_server[0]["seen"]
    assert (point["achieved_rate"] or 0.0) < 30
