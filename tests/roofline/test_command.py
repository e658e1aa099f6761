"""`loadgen roofline`: what is printed, written and refused."""

import json

import pytest

from loadgen.cli.roofline import roofline

PLAIN = ["llama-2-7b", "--gpu", "H200", "--noncausal"]


def document(capsys, *arguments):
    assert roofline([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_json_holds_every_point(capsys):
    told = document(capsys, *PLAIN, "--batch", "1,8", "--seq", "1024,2k")
    assert [(p["phase"], p["batch"], p["sequence"]) for p in told["points"]] == [
        (phase, batch, sequence) for phase in ("prefill", "decode") for sequence in (1024, 2000) for batch in (1, 8)
    ]
    assert told["model"]["parameters"] == 6_738_415_616
    assert told["gpu"]["ridge"] == pytest.approx(206.1, abs=0.05)
    assert set(told["gpu"]["sources"]) == {"bf16_tflops", "fp8_tflops", "bandwidth_gbps", "memory_gb"}
    assert told["kv_bytes_per_token"] == 524_288
    assert told["settings"] == {
        "precision": "bf16",
        "attention": "flash",
        "kv_cache": "paged",
        "fused": True,
        "causal": False,
    }


def test_json_of_one_point(capsys):
    (point,) = document(capsys, *PLAIN, "--batch", "8", "--phase", "decode")["points"]
    assert point["floor_ms"] == pytest.approx(3.67, abs=0.005)
    assert point["bound"] == "memory"
    assert point["fits"] is True
    assert point["compute_bound_batch"] is None
    operations = {operation["name"]: operation for operation in point["operations"]}
    assert operations["out"]["flops"] == 268_435_456
    assert operations["out"]["bytes"] == sum(
        operations["out"][f"{kind}_bytes"] for kind in ("weight", "read", "written")
    )
    assert operations["out"]["times"] == 32
    assert operations["out"]["compute_bound_batch"] == 230
    assert sum(operation["share"] for operation in operations.values()) == pytest.approx(1)
    assert "paper" not in point


def test_the_paper_stands_beside_and_not_among(capsys):
    (point,) = document(capsys, *PLAIN, "--batch", "8", "--phase", "prefill", "--paper")["points"]
    orders = {order["name"]: order for order in point["paper"]}
    assert round(orders["out"]["intensity"], 1) == 2730.7
    assert next(o for o in point["operations"] if o["name"] == "out")["intensity"] == 1638.4


def test_choices_reach_the_table(capsys):
    arguments = ["--phase", "decode", "--batch", "1", "--attention", "eager", "--kv", "concatenated", "--unfused"]
    (point,) = document(capsys, *PLAIN, *arguments, "--precision", "int4")["points"]
    names = {operation["name"] for operation in point["operations"]}
    assert {"q", "gate", "softmax", "kv concat"} <= names
    assert not {"qkv", "attention", "kv write"} & names


def test_own_limits_take_the_place_of_the_datasheet(capsys):
    told = document(capsys, "llama-2-7b", "--limits", "100,1000", "--batch", "1")
    assert told["gpu"]["bandwidth_gbps"] == 1000
    assert told["points"][0]["fits"] is None
    measured = document(capsys, "llama-2-7b", "--gpu", "H200", "--limits", "700,4100", "--batch", "1")
    assert (measured["gpu"]["name"], measured["gpu"]["memory_gb"]) == ("H200-SXM as measured", 141)


def test_the_table_fits_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert roofline([*PLAIN, "--batch", "8", "--paper"]) == 0
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for words in ("decode, batch 8, 1,024 tokens a sequence", "qkv", "memory-bound", "At least 3.67 ms", "2,731"):
        assert words in text


def test_the_answer_says_when_it_does_not_fit(capsys):
    assert roofline(["llama-2-7b", "--gpu", "A100", "--batch", "128", "--phase", "decode"]) == 0
    assert "Only 109 sequences of 1,024 tokens fit in memory" in " ".join(capsys.readouterr().out.split())
    assert roofline(["llama-3.1-70b", "--gpu", "A100", "--batch", "1", "--phase", "decode"]) == 0
    assert "several GPUs" in " ".join(capsys.readouterr().out.split())


def test_the_page_is_one_file_that_needs_nothing_else(tmp_path, capsys):
    page = tmp_path / "roofline.html"
    assert roofline([*PLAIN, "--batch", "1,8", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("<svg viewBox") >= 2
    assert "http://" not in text
    assert "https://" not in text
    assert "src=" not in text
    for name in ("qkv", "attention", "down"):  # a dot for each phase and batch says what it is
        assert text.count(f"<title>{name}, batch 1:") == text.count(f"<title>{name}, batch 8:") == 2
    assert "gate &amp; up" in text


@pytest.mark.parametrize(("precision", "roofs"), [("bf16", 1), ("int4", 1), ("fp8", 2)])
def test_a_precision_with_its_own_peak_has_its_own_roof(tmp_path, precision, roofs, capsys):
    page = tmp_path / "roofline.html"
    assert roofline([*PLAIN, "--phase", "decode", "--precision", precision, "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8").count('class="line roof"') == roofs


def test_a_models_own_config(tmp_path, capsys):
    config = {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "vocab_size": 32000,
    }
    folder = tmp_path / "my<b>[red]model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for path in (folder, folder / "config.json"):
        told = document(capsys, str(path), "--gpu", "A100", "--batch", "1")
        assert told["model"]["name"] == "my<b>[red]model"
        assert told["model"]["parameters"] == 6_738_415_616
    assert roofline([str(folder), "--gpu", "A100", "--html", str(tmp_path / "page.html")]) == 0
    assert "my&lt;b&gt;[red]model" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "my<b>[red]model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lama-2-7b", "--gpu", "H200"], "Did you mean llama-2-7b?"),
        (["llama-2-7b", "--gpu", "H20"], "Did you mean H200-SXM?"),
        (["llama-2-7b"], "On which GPU?"),
        (["llama-2-7b", "--gpu", "H200", "--limits", "fast"], "'fast' is not a pair of limits."),
        (["llama-2-7b", "--gpu", "H200", "--limits", ""], "'' is not a pair of limits."),
        (["llama-2-7b", "--gpu", "H200", "--batch", "0"], "at least one element"),
        (["llama-2-7b", "--gpu", "H200", "--batch", "1,x"], "'x' is not a whole number."),
        (["llama-2-7b", "--gpu", "H200", "--attention", "paged", "--kv", "concatenated"], "concatenated cache"),
        (["llama-3.1-8b", "--gpu", "H200", "--paper"], "do not cover llama-3.1-8b"),
        (["llama-2-7b", "--gpu", "H200", "--html", "/nowhere/at/all.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_exit_code_2(arguments, words, capsys):
    assert roofline(arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 2


def test_a_config_that_cannot_be_read(tmp_path, capsys):
    for content in ("{", "[]", '{"model_type": "mamba"}', "\udcff".encode("utf-8", "surrogateescape")):
        path = tmp_path / "config.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert roofline([str(path), "--gpu", "H200"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 2
