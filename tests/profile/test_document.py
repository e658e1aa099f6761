"""The document of a profile with made-up timings, and the pages made of it."""

import json
from xml.etree import ElementTree as ET

import profiles
import pytest

from loadgen.profile.conclusions import conclude
from loadgen.profile.document import describe
from loadgen.profile.figures import figures
from loadgen.profile.pages import html_page, markdown_page, svg_files
from loadgen.profile.tables import all_tables, headline


@pytest.fixture(scope="module")
def document():
    return json.loads(json.dumps(describe(profiles.made_profile()), allow_nan=False))


def find(document, phase, batch, sequence):
    (point,) = [p for p in document["points"] if (p["phase"], p["batch"], p["sequence"]) == (phase, batch, sequence)]
    return point


def cell(point, name, how=None):
    return next(one for one in point["cells"] if one["name"] == name and how in (None, one["how"]))


def test_a_cell_has_its_floor_its_share_and_its_regime(document):
    qkv = cell(find(document, "decode", 1, 2048), "qkv")
    assert (qkv["flops"], qkv["bytes"]) == (100_663_296, 100_696_064)  # the published integers
    assert qkv["floor_us"] == pytest.approx(100_696_064 / 4000 / 1e3, rel=1e-5)
    assert qkv["floor_us_datasheet"] == pytest.approx(100_696_064 / 4800 / 1e3, rel=1e-5)
    assert qkv["median_us"] == pytest.approx(qkv["floor_us"] / 0.8, rel=1e-5)
    assert (qkv["of_floor"], qkv["reach"], qkv["agrees"]) == (0.8, "memory", True)
    assert qkv["times"] == 32
    assert set(qkv["stacks"]) == {"paged", "blocked"}


def test_every_operation_of_the_roofline_stands_in_every_point(document):
    names = {one["name"] for one in find(document, "decode", 8, 512)["cells"]}
    assert {"qkv", "rope", "kv write", "kv concat", "q kᵀ", "softmax", "p v", "attention", "lm head"} <= names
    assert {one["how"] for one in find(document, "decode", 8, 512)["cells"] if one["name"] == "attention"} == {
        "gather + sdpa, flash",
        "triton, reads the block table",
        "torch sdpa, flash",
    }


def test_a_step_is_the_sum_of_its_fastest_ways(document):
    step = find(document, "decode", 8, 2048)["steps"]["blocked"]
    mine = [one for one in find(document, "decode", 8, 2048)["cells"] if "blocked" in one["stacks"]]
    best = {name: min(o["median_us"] for o in mine if o["name"] == name) for name in {one["name"] for one in mine}}
    times = {one["name"]: one["times"] for one in mine}
    assert step["sum_ms"] == pytest.approx(sum(times[name] * us for name, us in best.items()) / 1e3, rel=1e-4)
    assert sum(step["shares"].values()) == pytest.approx(1, rel=1e-4)


def test_a_document_is_concluded_anew_when_it_is_read(document):
    old = {key: value for key, value in document.items() if key not in ("regimes", "growth", "savings")}
    old["points"] = [{key: value for key, value in p.items() if key not in ("steps", "fits")} for p in old["points"]]
    old["thresholds"] = [{key: entry[key] for key in ("name", "predicted")} for entry in old["thresholds"]]
    assert conclude(old) == document


def test_a_step_that_the_memory_has_no_room_for_is_marked_and_not_drawn():
    """13.5 GB of weights, and 524,288 bytes a token: 64 × 2,048 tokens take 82.2 GB, 64 × 512 take 30.7."""
    profile = profiles.made_profile()
    profile.device["memory_bytes"] = 82 * 10**9
    told = describe(profile)
    assert {(p["batch"], p["sequence"]) for p in told["points"] if not p["fits"]} == {(64, 2048)}
    steps = next(table for table in all_tables(told) if table.title == "Steps")
    assert ("decode 64 × 2,048†", "paged") in {row[:2] for row in steps.rows}
    assert "do not fit" in steps.note
    drawn = next(figure for figure in figures(told) if figure.slug == "step-decode")
    assert drawn.title.startswith("Decode, 512 tokens")  # the longest line of the grid that fits, not the longest


def test_shares_of_a_step_and_of_the_limits(document):
    step = find(document, "decode", 8, 2048)["steps"]["eager"]
    own = {name: step["shares"][name] for name in ("kv concat", "q kᵀ", "softmax", "p v")}
    assert step["kv_attention"] == pytest.approx(sum(own.values()), rel=1e-4)
    assert 0 < step["latency"] < 1
    told = {(entry["phase"], entry["name"]): entry for entry in document["regimes"]}
    assert told[("prefill", "gate & up")]["of_floor"] == [0.8, 0.8, 0.8]
    for entry in document["thresholds"]:  # kernels at 80 % of their floor on either side
        assert entry["flat_of_floor"] == pytest.approx(0.8, rel=0.1)
        assert entry["rise_of_floor"] == pytest.approx(0.8, rel=0.1)


def test_a_step_of_which_something_is_missing_has_no_sum():
    def time(row, how):
        return "out of memory" if row.name == "q kᵀ" else profiles.floor_and_launch(row, how)

    told = describe(profiles.made_profile(time))
    steps = told["points"][0]["steps"]
    assert steps["eager"]["sum_ms"] is None
    assert steps["eager"]["missing"] == ["q kᵀ"]
    assert steps["paged"]["sum_ms"] is not None
    named = next(table for table in all_tables(told) if table.title == "What could not be run")
    assert ("decode 1 × 512", "q kᵀ: torch matmul", "out of memory") in named.rows


def test_the_threshold_of_kernels_at_a_share_of_their_floor_is_the_predicted_one(document):
    for entry in document["thresholds"]:
        assert entry["batch"] == pytest.approx(entry["predicted"]["measured"], rel=0.1), entry["name"]


def test_kernels_at_their_floor_are_where_they_were_predicted(document):
    told = {(entry["phase"], entry["name"]): entry for entry in document["regimes"]}
    assert told[("prefill", "gate & up")]["found"] == {"compute": 6}
    assert told[("decode", "gate & up")]["found"] == {"memory": 6}
    assert told[("decode", "add & norm (mlp)")]["found"].keys() <= {"latency", "memory"}
    assert told[("decode", "gate & up")]["agreeing"] == 6
    asked = [entry for entry in document["growth"] if entry["agrees"] is not None and entry["name"] in ("qkv", "down")]
    assert asked
    assert all(entry["agrees"] for entry in asked)


def test_savings_of_independent_techniques_add_up(document):
    entry = next(e for e in document["savings"] if e["kv_cache"] == "paged" and e["phase"] == "decode")
    assert (entry["base_us"], entry["attention_us"], entry["cache_us"], entry["together_us"]) == (34, 24, 14, 4)
    assert entry["interaction_us"] == 0
    assert entry["step_ms_base"] - entry["step_ms_together"] == pytest.approx(32 * 30 / 1e3, rel=1e-3)


def test_the_pages_hold_the_tables_the_plots_and_the_command(document):
    page, text = html_page(document), markdown_page([document])
    for words in (headline(document), document["command"]):
        assert words in page
        assert words in text
    for table in all_tables(document):
        assert f"### {table.title}" in text
        assert all(len(row) == len(table.columns) for row in table.rows), table.title
    drawn = svg_files(document)
    assert len(drawn) == len(figures(document)) == 7
    for name, picture in drawn.items():
        assert f"({name})" in text
        assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    ET.fromstring(page.removeprefix("<!doctype html>\n"))


def test_a_profile_that_was_cut_short_is_still_shown():
    profile = profiles.made_profile()
    profile.points.clear()
    profile.sweep.clear()
    profile.checks.clear()
    profile.troubles.append(("limits again", "the GPU fell off the bus"))
    profile.left_out.append(("decode", 8, 512))
    told = describe(profile)
    assert "the GPU fell off the bus" in markdown_page([told])
    assert "decode 8 × 512" in markdown_page([told])
    assert svg_files(told) == {}
