"""A server that calls its model by a folder of this machine: the tokenizer in it makes the prompts exact."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.tinymodel.shape import find_shape
from loadgen.tinymodel.write import write_model

pytest.importorskip("tokenizers")


@pytest.mark.parametrize("there", [True, False])
def test_a_model_called_by_its_folder(
    there: bool, tmp_path: Path, command: Callable[..., tuple[int, str, str]], start: Callable[..., Any]
) -> None:
    folder = tmp_path / "tiny"
    if there:
        write_model(folder, find_shape("tiny"), weights=False)
    timing = ("--ttft-ms", "1", "--itl-ms", "1", "--port", "0")
    server = start("serve", "simulator", "--style", "transformers", "--served-model-name", str(folder), *timing)
    url = json.loads(server.process.stdout.readline())["ready"]
    code, _, err = command(
        *("run", "--base-url", url, "--model", str(folder), "--num-prompts", "5", "--request-rate", "50"),
        *("--output-len", "2", "--warmup", "none", "--dataset", "random", "--input-len", "40", "--out", "run"),
    )
    assert code in (0, 3), err
    lengths = json.loads(Path("run/summary.json").read_text())["points"][0]["lengths"]
    # The simulator counts tokens in its own way: prompts cut by the tokenizer in the folder differ from that.
    assert (lengths["input_obtained_mean"] == 40) is not there
