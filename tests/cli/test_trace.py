"""`loadgen trace` as it is typed: the screen, the JSON, the page, and what bad input gets."""

import json
from pathlib import Path

import pytest

from loadgen.cli.main import run_command
from loadgen.cli.trace import sparkline


def typed(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run_command(["trace", *words.split()])
    out = capsys.readouterr()
    assert "bug of loadgen" not in out.err
    return code, out.out, out.err


def test_inspect_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = typed("inspect mooncake-conversation --context 20k", capsys)
    assert code == 0
    assert out.startswith("Mooncake: 170 requests of 170 rows read.")
    assert "● The clock ticks every 3 s" in out
    assert "● Requests longer than a context of 20,000 tokens" in out
    assert "ideal hit rate" in out


def test_inspect_as_json_is_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed("inspect azure-2023-conv --json", capsys)
    assert (code, err) == (0, "")
    assert json.loads(out)["rows_kept"] == 600


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = typed(f"inspect azure-2023-conv --html {tmp_path}/page.html", capsys)
    page = (tmp_path / "page.html").read_text()
    assert code == 0
    assert "Page: " in out
    assert page.count("<figure") == 3
    assert "src=" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_convert_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.jsonl"
    code, said, _ = typed(f"convert weka-subagents --to loadgen --out {out}", capsys)
    assert code == 0
    assert said.startswith(f"{out}: 32 requests in loadgen's format, from Weka.")
    assert f"loadgen replay {out}" in said
    code, said, _ = typed(f"inspect {out}", capsys)
    assert said.startswith("loadgen: 32 requests")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("inspect", "required"),
        ("inspect nope", "There is no trace nope. | mooncake-conversation"),
        ("inspect azure-2023-conv --epoch 3", "has one epoch, not 3"),
        ("inspect azure-2023-conv --context x", "'x' is not a whole number"),
        ("inspect azure-2023-conv --bytes-per-token 0", "--bytes-per-token must be more than 0"),
        ("inspect azure-2023-conv --html /nowhere/x.html", "cannot be written"),
        ("convert azure-2023-conv --to x --out y", "no format that is written | mooncake"),
        ("convert azure-2023-conv --to loadgen", "required"),
        ("convert otel-prefix-sharing --to loadgen --out /nowhere/y", "cannot be written"),
        ("fetch nope", "no public trace 'nope' | mooncake-toolagent"),
        ("look", "no 'loadgen trace look' | inspect"),
    ],
)
def test_bad_input_gets_a_sentence_and_a_hint(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(words, capsys)
    assert code == 2
    assert out == ""
    assert all(part.strip() in err for part in sentence.split("|"))


def test_fetch_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = typed("fetch", capsys)
    assert code == 0
    assert "mooncake-conversation" in out
    assert "CC-BY-4.0" in out


def test_a_line_of_bars() -> None:
    assert sparkline([0.0, 1.0, None, 8.0], 10) == " ▁ █"
    assert len(sparkline([1.0] * 1000, 60)) <= 60
