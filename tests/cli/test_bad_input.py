"""Whatever is typed wrong is answered with one sentence and a hint on stderr, exit code 2, and nothing on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

WRONG = {
    "unknown command, near": (["swep"], "There is no command 'swep'.", "Did you mean 'loadgen sweep'?"),
    "unknown command, far": (["frobnicate"], "There is no command 'frobnicate'.", "Commands: sweep, "),
    "unknown flag": (["sweep", "--rate", "1"], "Unknown option --rate.", "Did you mean --rates?"),
    "unknown flag of roofline": (["roofline", "x", "--bach", "1"], "Unknown option --bach.", "--batch"),
    "a word too many": (["run", "extra"], "'extra' was not expected.", "loadgen run --help"),
    "a folder is missing": (["report"], "FOLDER", "loadgen report --help"),
    "a flag without its value": (["run", "--seed"], "expected one argument", "loadgen run --help"),
    "unknown dataset": (["run", "--dataset", "s2z"], "There is no dataset 's2z'. Did you mean 's2s'?", "Known: s2s"),
    "no dataset file": (["run", "--dataset", "none.jsonl"], "none.jsonl", ""),
    "rates backward": (["sweep", "--rates", "64..1"], "'64..1' runs backward.", "1..64"),
    "rate zero": (["sweep", "--rates", "0"], "A request rate must be above 0", "requests per second"),
    "rate negative": (["sweep", "--rates", "-1"], "A request rate must be above 0", "requests per second"),
    "rates of letters": (["sweep", "--rates", "abc"], "'abc' is not a list of request rates.", "1..64"),
    "a rate of letters": (["run", "--request-rate", "fast"], "'fast'", "8, inf, ramp"),
    "duration": (["run", "--duration", "5x"], "--duration: '5x' is not a duration.", "500ms, 30s"),
    "count": (["run", "--num-prompts", "-4"], "--num-prompts: '-4' is not a whole number.", "8k"),
    "seed": (["run", "--seed", "x"], "--seed: 'x' is not a whole number.", ""),
    "slo": (["run", "--slo", "quick"], "'quick' is not an SLO clause.", "ttft_p99=500ms"),
    "header": (["run", "--header", "no"], "--header: 'no' is not a header.", "Name: value"),
    "extra body": (["run", "--extra-body", "{"], "--extra-body: '{' is not JSON", "temperature"),
    "two that exclude each other": (["run", "--base-url", "http://h", "--engine", "simulator"], "exclude", "Either"),
    "burstiness": (["run", "--burstiness", "0"], "--burstiness must be above 0.", "Poisson"),
    "nothing but warm-up": (["run", "--duration", "5s", "--warmup", "5s"], "nothing would be left", "Shorten"),
    "no requests": (["run", "--num-prompts", "0"], "--num-prompts: 0 is too few.", "1 or more"),
    "no room": (["run", "--max-concurrency", "0"], "--max-concurrency: 0 is too few.", "Leave it out"),
    "a prefix before the beginning": (
        ["run", "--prefix-len", "-1"],
        "--prefix-len: '-1' is not a whole number.",
        "300",
    ),
    "no answers": (["run", "--output-len", "0"], "'0' is not a token length", "512"),
    "tokenizer": (["run", "--tokenizer", "none"], "There is no tokenizer at none.", "tokenizer.json"),
    "engine": (["run", "--engine", "vlmm"], "There is no engine 'vlmm'.", "vllm"),
    "engine to serve": (["serve", "vlmm"], "There is no engine 'vlmm'.", "vllm"),
    "not a URL": (["run", "--base-url", "ftp://h"], "'ftp://h' is not an http or https URL.", "http://127.0.0.1"),
    "a host that is none": (["run", "--base-url", f"http://{'a' * 64}.com"], "names no host", "http://127.0.0.1"),
    "a key in a URL": (["run", "--base-url", "http://me:key@h"], "would end up in reports", "--api-key"),
    "unknown host": (["run", "--base-url", "http://no.such.invalid"], "'no.such.invalid' is not known", "--base-url"),
    "an empty URL": (["run", "--base-url", ""], "--base-url is empty.", "Leave it out"),
    "an empty model": (["run", "--model="], "--model is empty.", "Leave it out"),
    "no TOML file": (["run", "--config", "none.toml"], "Cannot read none.toml", ""),
    "no report": (["report", "nowhere"], "There is no folder nowhere.", "a run or of a sweep"),
    "no model for roofline": (["roofline", "lama-2-7b", "--gpu", "H200"], "lama-2-7b", "Did you mean llama-2-7b?"),
    "no folder for vLLM's file": (["run", "--save-vllm", "no/x.json"], "There is no folder no", "--save-vllm"),
}


@pytest.mark.parametrize(("arguments", "sentence", "hint"), WRONG.values(), ids=WRONG)
def test_one_sentence_and_a_hint(
    arguments: list[str], sentence: str, hint: str, command: Command, elsewhere: Path
) -> None:
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    assert sentence in err
    assert hint in err
    assert err.startswith("loadgen")
    assert len(err.splitlines()) <= 2
    assert not any(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rate = [", "wrong.toml is not TOML"),
        ("\udcff\udcfe", "wrong.toml is not TOML"),
        ("ratez = 3", "Unknown option 'ratez' in wrong.toml."),
        ("duration = 'soon'", "--duration: 'soon' is not a duration."),
        ("quiet = 'yes'", "--quiet is a switch"),
    ],
)
def test_a_wrong_toml_file(text: str, sentence: str, command: Command, elsewhere: Path) -> None:
    (elsewhere / "wrong.toml").write_text(text, errors="surrogateescape")
    code, out, err = command("run", "--config", "wrong.toml")
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_flag_is_stronger_than_the_file(command: Command, elsewhere: Path) -> None:
    (elsewhere / "right.toml").write_text("request_rate = 'fast'\n")
    assert "'fast'" in command("run", "--config", "right.toml")[2]
    assert "'slow'" in command("run", "--config", "right.toml", "--request-rate", "slow")[2]


def test_a_folder_that_exists_is_left_alone(command: Command, elsewhere: Path) -> None:
    (elsewhere / "there").mkdir()
    (elsewhere / "there" / "dear.txt").write_text("mine")
    code, out, err = command("run", "--out", "there")
    assert (code, out) == (2, "")
    assert err.startswith("loadgen: The folder there exists already.\n  Choose another with --out")
    assert [path.name for path in (elsewhere / "there").iterdir()] == ["dear.txt"]


def test_a_report_of_what_is_no_run(command: Command, elsewhere: Path) -> None:
    assert "holds no run" in command("report", ".")[2]
    (elsewhere / "manifest.json").write_text("{")
    code, _, err = command("report", ".")
    assert code == 2
    assert "manifest.json is not JSON" in err


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"], ["serve"]])
def test_help_is_no_error(arguments: list[str], command: Command) -> None:
    code, out, err = command(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("usage: loadgen")


@pytest.mark.parametrize("name", ["sweep", "run", "report", "roofline"])
def test_help_of_a_command(name: str, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command(name, "--help")
    assert end.value.code == 0
    assert f"usage: loadgen {name}" in capsys.readouterr().out
