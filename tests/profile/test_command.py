"""`loadgen profile`: what is measured on a CPU, written, shown again and refused."""

import importlib.util
import json
import lzma
from dataclasses import replace

import profiles
import pytest

from loadgen.cli import profile as command
from loadgen.cli.main import run_command
from loadgen.profile import bench
from loadgen.profile.document import describe

TINY = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 100,
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    return "config.json"


def test_a_cpu_times_every_module(torch, tiny, tmp_path, capsys):
    wanted = ("--batch", "1,3", "--seq", "20", "--sweep", "1,2,4,8", "--repeats", "5", "--quick")
    assert run_command(["profile", tiny, "--device", "cpu", *wanted, "--json", "made.json", "--html", "p.html"]) == 0
    told = json.loads((tmp_path / "made.json").read_text())
    assert [(p["phase"], p["batch"]) for p in told["points"]] == [
        ("decode", 1), ("decode", 3), ("prefill", 1), ("prefill", 3)
    ]  # fmt: skip
    assert all(cell["median_us"] > 0 for point in told["points"] for cell in point["cells"])
    assert all(step["sum_ms"] > 0 for point in told["points"] for step in point["steps"].values())
    assert all(check["passed"] for check in told["selftest"])
    assert (told["troubles"], told["left_out"]) == ([], [])
    reached = {one["name"] for one in told["limits"]["reached"] if one["unit"] == "GB/s"}
    assert reached == {"copy", "scale", "read", "read by a product", "write"}
    assert "What the device reaches" in capsys.readouterr().out
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("change", [{}, {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
                                    {"model_type": "qwen3", "head_dim": 32}, {"model_type": "opt",
                                     "num_key_value_heads": 4, "max_position_embeddings": 600}])  # fmt: skip
def test_every_module_agrees_with_float32(torch, tmp_path, capsys, change):
    (tmp_path / "config.json").write_text(json.dumps(TINY | change))
    code = run_command(["profile", str(tmp_path / "config.json"), "--device", "cpu", "--selftest"])
    assert (code, "0 of " in capsys.readouterr().out) == (0, True)


def test_a_wrong_kernel_is_found(torch, tiny, monkeypatch, capsys):
    kernels = importlib.import_module("loadgen.profile.kernels")
    built = kernels.KERNELS["multiply"]

    def wrong(*dims):
        probe = built.build(*dims)
        return replace(probe, run=lambda: probe.run() * 1.05)

    monkeypatch.setitem(kernels.KERNELS, "multiply", replace(built, build=wrong))
    assert run_command(["profile", tiny, "--device", "cpu", "--selftest"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_points_for_which_there_is_no_time_are_named(torch, tiny, tmp_path, capsys):
    arguments = [tiny, "--device", "cpu", "--seq", "8", "--sweep", "none", "--quick", "--within", "1ms"]
    assert run_command(["profile", *arguments, "--json", "made.json"]) == 0
    assert len(json.loads((tmp_path / "made.json").read_text())["left_out"]) == 6
    assert "left out: no time" in capsys.readouterr().out


def test_a_module_that_fails_is_named_and_the_others_go_on(torch, tiny, tmp_path, monkeypatch):
    kernels = importlib.import_module("loadgen.profile.kernels")

    def broken(*_):
        raise RuntimeError("no such kernel\nlong advice")

    monkeypatch.setitem(kernels.KERNELS, "masked softmax", replace(kernels.KERNELS["masked softmax"], build=broken))
    arguments = [tiny, "--device", "cpu", "--batch", "1", "--seq", "8", "--sweep", "none", "--quick"]
    assert run_command(["profile", *arguments, "--json", "made.json"]) == 0
    told = json.loads((tmp_path / "made.json").read_text())
    missing = [cell for point in told["points"] for cell in point["cells"] if cell["median_us"] is None]
    assert {(cell["name"], cell["skipped"]) for cell in missing} == {("softmax", "no such kernel")}


def test_a_profile_from_elsewhere_is_shown_and_written_without_torch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda _: None)
    (tmp_path / "made.json").write_text(json.dumps(describe(profiles.made_profile())))
    page = tmp_path / "profile.md"
    assert run_command(["profile", str(tmp_path / "made.json"), "--markdown", str(page)]) == 0
    assert "llama-2-7b on NVIDIA H200" in capsys.readouterr().out
    assert page.read_text().startswith("# The modules of a decoder, timed")
    assert len(list(tmp_path.glob("llama-2-7b-*.svg"))) == 7


def test_of_a_compressed_profile_the_points_that_were_asked_for_are_shown(tmp_path, capsys):
    path, page = tmp_path / "made.json.xz", tmp_path / "profile.md"
    path.write_bytes(lzma.compress(json.dumps(describe(profiles.made_profile())).encode()))
    chosen = ["--batch", "8", "--seq", "2048", "--phase", "decode"]
    assert run_command(["profile", str(path), *chosen, "--markdown", str(page)]) == 0
    steps = page.read_text().split("### Steps")[1].split("###")[0]
    assert steps.count("decode 8 × 2,048") == 3
    assert steps.count(" × ") == 3
    assert "| qkv, prefill | compute 6 |" in page.read_text()  # verdicts are over all points
    assert f"--batch 8 --seq 2048 --phase decode --markdown {page}" in page.read_text()
    assert "### decode 8 × 2,048" in page.read_text()  # so few that each module has a row
    capsys.readouterr()
    assert command.profile([str(path), "--batch", "3"]) == 2
    assert "It has batches of 1, 8, 64 and lengths of 512, 2048." in capsys.readouterr().err


REFUSED = [
    (["llama-9"], "is not known"),
    (["llama-2-7b", "--batch", "0"], "at least one element"),
    (["llama-2-7b", "--repeats", "2"], "at least 5 repeats"),
    (["llama-2-7b", "mistral-7b"], "One model can be measured at a time"),
    (["llama-2-7b", "--gpu", "H900"], "is not known"),
    (["llama-2-7b", "--batches", "1"], "Unknown option --batches"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_bad_input_is_one_sentence(arguments, sentence, capsys):
    assert command.profile(arguments) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""


def test_without_torch_and_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda _: None)
    assert command.profile(["llama-2-7b"]) == 2
    assert "needs torch" in capsys.readouterr().err


def test_without_a_gpu_it_says_so(torch, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.profile(["llama-2-7b"]) == 2
    assert "There is no GPU here that torch can use." in capsys.readouterr().err
