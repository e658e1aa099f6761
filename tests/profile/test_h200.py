"""docs/results/h200/profile.md: tables and pictures are what the command beside them writes, and the words are true."""

import json
import lzma
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from loadgen.cli.main import run_command
from loadgen.profile.conclusions import conclude, fastest_ways

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "h200" / "profile.md"
FOLDER = PAGE.with_suffix("")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def found() -> dict[str, Json]:
    return {
        name: conclude(json.loads(lzma.decompress((FOLDER / f"{name}.json.xz").read_bytes())))
        for name in ("llama-2-7b", "llama-3.1-8b")
    }


def pairs(document: Json, phase: str, batch: int, sequence: int) -> dict[str, float]:
    """Times in µs of one layer's cache update and attention, by cache and attention."""
    (point,) = [p for p in document["points"] if (p["phase"], p["batch"], p["sequence"]) == (phase, batch, sequence)]
    return {f"{pair['kv_cache']}, {pair['attention']}": pair["median_us"] for pair in point["pairs"]}


def steps(document: Json, phase: str, stack: str) -> list[Json]:
    """Of all points that fit into the GPU."""
    known = [point for point in document["points"] if point["phase"] == phase and point["fits"]]
    return [point["steps"][stack] | {"at": (point["batch"], point["sequence"])} for point in known]


def test_the_command_beside_the_tables_writes_them_and_the_pictures(tmp_path, monkeypatch, capsys):
    command = next(line for line in PAGE.read_text().splitlines() if line.startswith("    loadgen profile docs/"))
    *words, written = shlex.split(command)[1:]
    monkeypatch.chdir(ROOT)
    assert ROOT / written == FOLDER / "tables.md"
    assert run_command([*words, str(tmp_path / "tables.md")]) == 0
    made = (tmp_path / "tables.md").read_text().replace(str(tmp_path / "tables.md"), written)
    assert made == (FOLDER / "tables.md").read_text(), f"run `{command.strip()}`"
    pictures = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert pictures == {path.name: path.read_text() for path in FOLDER.glob("*.svg")}
    assert len(pictures) == 14


def test_every_row_of_a_figure_is_one_of_those_tables():
    rows = [line for line in PAGE.read_text().split("## What the GPU reaches")[1].splitlines() if line.startswith("|")]
    mine = [row for row in rows if not re.match(r"\|[-|]+\|$|\| *(\||operation|neighbours|linear layer|point)", row)]
    written = (FOLDER / "tables.md").read_text().splitlines()
    assert len(mine) > 100
    assert [row for row in mine if row not in written] == []


def test_what_is_said_of_claim_3(found):
    seven, eight = found["llama-2-7b"], found["llama-3.1-8b"]
    linears = {"qkv", "q", "k", "v", "out", "gate & up", "gate", "up", "down", "lm head"}
    counts = [(e["points"], e["agreeing"]) for e in seven["regimes"] if e["name"] in linears]
    assert [sum(column) for column in zip(*counts, strict=True)] == [980, 980]
    asked = [e["agrees"] for document in found.values() for e in document["growth"] if e["agrees"] is not None]
    assert (len(asked), sum(asked)) == (1156, 1140)
    off = {e["name"] for document in found.values() for e in document["growth"] if e["agrees"] is False}
    assert off == {"attention", "k", "v", "out"}
    short = ("rope", "kv write", "add & norm (attention)", "add & norm (mlp)")
    times = [
        cell["median_us"]
        for document in found.values()
        for point in document["points"]
        for name, cell in fastest_ways(point["cells"]).items()
        if point["phase"] == "decode" and name in short and cell["median_us"]
    ]
    assert min(times) > 1
    assert max(times) < 5
    told = {(e["phase"], e["name"]): e for e in seven["regimes"]}
    assert all(told[("decode", name)]["agreeing"] == 0 for name in short)
    assert max(step["latency"] for step in steps(seven, "decode", "paged")) == pytest.approx(0.08, abs=0.005)
    assert all(told[(phase, "softmax")]["of_floor"][2] < 0.1 for phase in ("decode", "prefill"))
    narrow = next(e for e in eight["regimes"] if (e["phase"], e["name"]) == ("decode", "k"))
    assert (narrow["found"], round(narrow["of_floor"][2], 2)) == ({"neither": 12}, 0.28)


def test_what_is_said_of_thresholds(found):
    turns = [(e["name"], e["batch"], e["predicted"]) for document in found.values() for e in document["thresholds"]]
    out = [round(batch) for name, batch, _ in turns if name == "out"]
    rest = [(batch, predicted["measured"]) for name, batch, predicted in turns if name != "out"]
    assert out == [275, 267]
    assert (round(min(rest)[0]), round(max(rest)[0])) == (154, 200)
    assert max(abs(batch / predicted - 1) for batch, predicted in rest) < 0.17
    assert {min(p[key] for *_, p in turns) for key in ("measured", "datasheet")} == {184, 218}
    assert {max(p[key] for *_, p in turns) for key in ("measured", "datasheet")} == {193, 230}
    stairs = {cell["batch"]: cell["median_us"] for cell in found["llama-3.1-8b"]["sweep"]["gate & up"]}
    assert (round(stairs[448]), round(stairs[512])) == (279, 163)


def test_what_is_said_of_savings(found):
    seven, eight = found["llama-2-7b"], found["llama-3.1-8b"]
    every = [e for document in found.values() for e in document["savings"] if e["fits"] and e["kv_cache"] == "blocked"]
    assert max(abs(e["interaction_us"]) / e["base_us"] for e in every) == pytest.approx(0.041, abs=0.0006)
    flash = {phase: [e["base_us"] / e["attention_us"] for e in every if e["phase"] == phase] for phase in
             ("prefill", "decode")}  # fmt: skip
    assert (round(min(flash["prefill"]), 1), round(max(flash["prefill"]))) == (1.8, 16)
    assert 1 - 1 / max(flash["decode"]) == pytest.approx(0.37, abs=0.005)
    assert 1 / min(flash["decode"]) == pytest.approx(1.25, abs=0.01)
    mine = [e for e in seven["savings"] if e["phase"] == "decode" and e["kv_cache"] == "blocked"]
    assert all(e["attention_us"] < e["base_us"] for e in mine if e["batch"] * e["sequence"] < 8192)
    assert all(e["attention_us"] > e["base_us"] for e in mine if e["batch"] * e["sequence"] > 16384)
    cache = [e["base_us"] / e["cache_us"] for e in every if e["phase"] == "decode"]
    assert max(cache) == pytest.approx(2.9, abs=0.05)
    ratios = []
    for document in found.values():
        for point in document["points"]:
            if point["phase"] == "decode" and point["fits"]:
                times = pairs(document, "decode", point["batch"], point["sequence"])
                ratios.append(
                    min(times["blocked, eager"], times["blocked, sdpa, flash"]) / times["paged, paged kernel"]
                )
    assert (round(min(ratios), 2), round(max(ratios), 2)) == (0.97, 1.81)
    assert sum(ratio < 1 for ratio in ratios) == 1
    at = ("decode", 32, 4096)
    assert (round(pairs(eight, *at)["paged, paged kernel"]), round(pairs(seven, *at)["paged, paged kernel"])) == (
        170,
        525,
    )


def test_what_is_said_of_steps(found):
    seven = found["llama-2-7b"]
    for phase, stack, least, most in (
        ("decode", "paged", 73, 91),
        ("decode", "blocked", 57, 79),
        ("decode", "eager", 47, 85),
        ("prefill", "paged", 68, 100),
    ):
        shares = [100 * step["of_floor"] for step in steps(seven, phase, stack)]
        assert (round(min(shares)), round(max(shares))) == (least, most), (phase, stack)
    eager = {step["at"]: step for step in steps(seven, "decode", "eager")}
    paged = {step["at"]: step for step in steps(seven, "decode", "paged")}
    assert [round(100 * eager[at]["kv_attention"]) for at in ((1, 1024), (128, 1024))] == [17, 87]
    assert [round(100 * paged[at]["kv_attention"]) for at in ((1, 1024), (128, 1024))] == [9, 80]
    ridge = seven["limits"]["measured"]["ridge"], seven["limits"]["datasheet"]["ridge"]
    assert [round(value) for value in ridge] == [176, 206]
    assert seven["limits"]["measured"]["bandwidth_gbps"] / 4800 == pytest.approx(0.92, abs=0.005)
    assert seven["limits"]["measured"]["bf16_tflops"] / 989.4 == pytest.approx(0.78, abs=0.005)


def test_what_is_said_of_the_run_itself(found):
    seven, eight = found["llama-2-7b"], found["llama-3.1-8b"]
    assert [len(document["points"]) for document in (seven, eight)] == [98, 21]
    assert [len(document["selftest"]) for document in (seven, eight)] == [93, 96]
    assert all(document["left_out"] == document["troubles"] == [] for document in (seven, eight))
    assert max(check["error"] for check in (*seven["selftest"], *eight["selftest"])) == pytest.approx(0.0065, abs=5e-5)
    best: dict[str, float] = {}  # GB/s moved by kernels beside the copy's
    for point in seven["points"]:
        for cell in point["cells"]:
            if cell["median_us"]:
                best[cell["name"]] = max(best.get(cell["name"], 0), cell["bytes"] / cell["median_us"] / 1e3)
    told = {"kv concat": 3.9, "kv write": 4.0, "add (mlp)": 4.4, "p v": 4.59}
    assert {name: round(best[name] / 1e3, 2 if name == "p v" else 1) for name in told} == told
    down = {
        cell["median_us"]
        for point in seven["points"]
        for cell in point["cells"]
        if cell["name"] == "down" and (point["phase"], point["batch"] * point["sequence"]) == ("prefill", 8192)
    }
    assert [round(2 * 8192 * 11008 * 4096 / us / 1e6) for us in down] == [797]
    cells = [c for d in (seven, eight) for p in d["points"] for c in p["cells"] if c["median_us"]]
    cached = [cell for cell in cells if cell["cached"]]
    assert (len(cached), len(cells)) == (628, 3745)
    assert max(cell["of_floor"] for cell in cached) < 0.095
    assert not {cell["reach"] for cell in cached} & {"memory", "compute"}
    script = (ROOT / "examples" / "h200_profile.sh").read_text()
    for document in (seven, eight):
        command = document["command"].removeprefix("loadgen ").split(" --json")[0]
        assert command in script
