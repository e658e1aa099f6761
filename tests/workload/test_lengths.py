"""Datasets: epochs, seeds, overrides, files, and what the user is told when a file is not what it should be."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.workload import lengths
from loadgen.workload.files import read_custom, read_sharegpt, read_table
from loadgen.workload.lengths import DATASETS, Lengths, estimate_tokens, load_lengths

TRACES = Path(__file__).parents[2] / "traces"


def pairs(loaded: Lengths) -> list[tuple[int, int]]:
    return list(zip(loaded.input_tokens.tolist(), loaded.output_tokens.tolist(), strict=True))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def words(n: int) -> str:
    return " ".join(["word"] * n)


def count_words(text: str) -> int:
    return len(text.split())


# --- the datasets that come with loadgen


@pytest.mark.parametrize("name", ["s2s", "s2l", "l2s", "s16k"])
def test_an_epoch_has_every_row_once_and_the_next_epoch_again(name: str) -> None:
    table = [tuple(map(int, line.split(","))) for line in (TRACES / f"{name}.csv").read_text().splitlines()[1:]]
    loaded = load_lengths(name, n=2 * len(table), seed=3)
    first, second = pairs(loaded)[: len(table)], pairs(loaded)[len(table) :]
    assert Counter(first) == Counter(second) == Counter(table)
    assert loaded.label == name
    assert loaded.survey.rows_read == len(table)
    if name != "s16k":
        assert first != second
        assert first != table


@settings(max_examples=20)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32))
def test_more_requests_leave_the_first_ones_as_they_were(n: int, more: int, seed: int) -> None:
    few, many = load_lengths("s16k", n=n, seed=seed), load_lengths("s16k", n=n + more, seed=seed)
    assert pairs(many)[:n] == pairs(few)
    assert len(few) == n


def test_the_seed_decides_the_order() -> None:
    assert pairs(load_lengths("s2l", n=50, seed=1)) == pairs(load_lengths("s2l", n=50, seed=1))
    assert pairs(load_lengths("s2l", n=50, seed=1)) != pairs(load_lengths("s2l", n=50, seed=2))


def test_the_tables_inside_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, datasets = tmp_path / "loadgen", tmp_path / "loadgen" / "datasets"
    datasets.mkdir(parents=True)
    monkeypatch.setattr(lengths.loadgen, "__file__", str(package / "__init__.py"))
    with pytest.raises(BadInputError, match=r"s2s\.csv that comes with loadgen is missing"):
        load_lengths("s2s", n=1, seed=0)
    write(datasets / "s2s.csv", "input_tokens,output_tokens\n5,6\n")
    assert pairs(load_lengths("s2s", n=1, seed=0)) == [(5, 6)]


def test_every_dataset_with_a_file_has_that_file() -> None:
    assert all((TRACES / dataset.file).is_file() for dataset in DATASETS.values() if dataset.file)
    assert all(name == dataset.name and dataset.description for name, dataset in DATASETS.items())


# --- lengths of the user's choice


def test_random_is_512_and_128_unless_told() -> None:
    loaded = load_lengths("random", n=3, seed=0)
    assert (pairs(loaded), loaded.survey.token_source) == ([(512, 128)] * 3, "drawn")
    assert pairs(load_lengths("random", n=2, seed=0, output_len="7")) == [(512, 7)] * 2


def test_a_length_option_takes_the_place_of_one_column_only() -> None:
    plain = load_lengths("s2l", n=100, seed=5)
    forced = load_lengths("s2l", n=100, seed=5, output_len="64")
    assert forced.output_tokens.tolist() == [64] * 100
    assert forced.input_tokens.tolist() == plain.input_tokens.tolist()
    forced = load_lengths("s2l", n=100, seed=5, input_len="uniform:10-20")
    assert set(forced.input_tokens.tolist()) <= set(range(10, 21))
    assert forced.output_tokens.tolist() == plain.output_tokens.tolist()


def test_inputs_and_outputs_of_one_distribution_are_drawn_apart() -> None:
    loaded = load_lengths("random", n=1000, seed=0, input_len="normal:500,100", output_len="normal:500,100")
    assert abs(np.corrcoef(loaded.input_tokens, loaded.output_tokens)[0, 1]) < 0.15


# --- custom files


def test_custom_prompts_come_with_their_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", '{"prompt": "a b c", "output_tokens": 9}\n\n{"prompt": "d e"}\r\n')
    loaded = load_lengths("custom", n=4, seed=0, path=path, count=count_words)
    assert loaded.texts is not None
    assert Counter(zip(loaded.texts, pairs(loaded), strict=True)) == {("a b c", (3, 9)): 2, ("d e", (2, 128)): 2}
    assert (loaded.label, loaded.survey.token_source, loaded.survey.rows_kept) == ("custom", "tokenizer", 2)
    assert load_lengths("custom", n=4, seed=0, path=path).survey.token_source == "estimate"


def test_a_new_input_length_makes_recorded_prompts_useless(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", '{"prompt": "a b c"}\n')
    assert load_lengths("custom", n=1, seed=0, path=path, input_len="50").texts is None


def test_a_path_is_a_dataset_named_like_the_file(tmp_path: Path) -> None:
    rows = '{"input_tokens": 10, "output_tokens": 20}\n'
    loaded = load_lengths(str(write(tmp_path / "chat.jsonl", rows)), n=2, seed=0)
    assert (loaded.label, pairs(loaded), loaded.texts) == ("chat", [(10, 20)] * 2, None)
    table = "\ufeffoutput_tokens,input_tokens,who\r\n20,10,me\r\n\r\n"
    loaded = load_lengths(str(write(tmp_path / "night.csv", table)), n=2, seed=0)
    assert (loaded.label, pairs(loaded), loaded.survey.token_source) == ("night", [(10, 20)] * 2, "table")


def test_a_prompt_with_its_own_count_is_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", '{"prompt": "a b c", "input_tokens": 77, "output_tokens": 1}\n')
    loaded = load_lengths("custom", n=1, seed=0, path=path, count=count_words)
    assert (pairs(loaded), loaded.texts, loaded.survey.token_source) == ([(77, 1)], ("a b c",), "table")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"prompt": "a"}\n{"prompt": 5}\n', 2, "Expected `str"),
        ('{"prompt": "a"}\n\n{"prompt": \n', 3, "truncated"),
        ('{"text": "a"}\n', 1, "neither a prompt nor both token counts"),
        ('{"input_tokens": 5}\n', 1, "neither a prompt nor both token counts"),
        ('{"input_tokens": 0, "output_tokens": 5}\n', 1, "input_tokens"),
        ('{"prompt": "a", "output_tokens": -1}\n', 1, "output_tokens"),
        ('{"prompt": "a", "output_tokens": 99999999999999999999}\n', 1, "output_tokens"),
        ('{"prompt": ""}\n', 1, "prompt"),
        ('{"prompt": "a"}\n{"input_tokens": 5, "output_tokens": 5}\n', 2, "has no prompt"),
        ('{"input_tokens": 5, "output_tokens": 5}\n{"prompt": "a"}\n', 2, "has a prompt"),
        ("[]\n", 1, "Expected `object`"),
    ],
)
def test_a_bad_custom_row_is_named_by_line_and_reason(tmp_path: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        load_lengths("custom", n=1, seed=0, path=write(tmp_path / "mine.jsonl", text))
    assert f"Line {line} of " in str(refused.value)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("in,out\n1,2\n", 1),
        ("input_tokens,output_tokens\n1,2\n3\n", 3),
        ("input_tokens,output_tokens\n1,2\n\n0,5\n", 4),
        ("input_tokens,output_tokens\n1,2.5\n", 2),
        ("input_tokens,output_tokens\n1,²\n", 2),
        ("input_tokens,output_tokens\n99999999999999999999,2\n", 2),
    ],
)
def test_a_bad_table_row_is_named_by_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(BadInputError, match=f"^Line {line} of "):
        load_lengths(str(write(tmp_path / "mine.csv", text)), n=1, seed=0)


def test_files_that_are_missing_empty_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read: No such file"):
        load_lengths(str(tmp_path / "none.csv"), n=1, seed=0)
    with pytest.raises(BadInputError, match="has no rows"):
        load_lengths(str(write(tmp_path / "empty.jsonl", "\n\n")), n=1, seed=0)
    (tmp_path / "binary.jsonl").write_bytes(b'{"prompt": "a"}\n\xff\xfe')
    with pytest.raises(BadInputError, match=r"^Line 2 of .* is not UTF-8"):
        load_lengths(str(tmp_path / "binary.jsonl"), n=1, seed=0)


@pytest.mark.parametrize("read", [read_table, read_custom, read_sharegpt])
@settings(max_examples=100)
@given(data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore"))))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, read: Callable[[Path], list[Any]], data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(b"input_tokens,output_tokens\n" + data if read is read_table else data)
    try:
        rows = read(path)
    except BadInputError:
        return
    assert rows


# --- ShareGPT


def conversation(prompt: str, answer: str, speaker: str = "human") -> dict[str, Any]:
    return {
        "id": "x",
        "conversations": [{"from": speaker, "value": prompt}, {"from": "gpt", "value": answer}],
    }


def sharegpt(tmp_path: Path, entries: list[dict[str, Any]]) -> Path:
    return write(tmp_path / "sharegpt.json", json.dumps(entries))


def test_sharegpt_keeps_what_the_field_keeps_and_says_what_it_dropped(tmp_path: Path) -> None:
    good = [conversation(words(n), words(n + 1)) for n in (4, 100, 1023)]
    bad = [
        {"id": "y", "conversations": []},
        {"id": "z"},
        {"conversations": [{"from": "human", "value": words(9)}]},
        conversation(words(9), words(9), speaker="gpt"),
        conversation(words(3), words(9)),
        conversation("", words(9)),
        conversation(words(9), words(3)),
        conversation(words(1025), words(9)),
        conversation(words(1024), words(1025)),
    ]
    loaded = load_lengths("sharegpt", n=30, seed=0, path=sharegpt(tmp_path, good + bad), count=count_words)
    assert Counter(pairs(loaded)) == {(4, 5): 10, (100, 101): 10, (1023, 1024): 10}
    assert loaded.texts is not None
    assert [count_words(text) for text in loaded.texts] == loaded.input_tokens.tolist()
    assert (loaded.survey.rows_read, loaded.survey.rows_kept) == (12, 3)
    assert loaded.survey.dropped == {
        "fewer than two turns": 3,
        "does not begin with a human": 1,
        "prompt under 4 tokens": 2,
        "answer under 4 tokens": 1,
        "prompt over 1024 tokens": 1,
        "prompt and answer over 2048 tokens": 1,
    }


def test_sharegpt_stops_reading_when_it_has_enough(tmp_path: Path) -> None:
    path = sharegpt(tmp_path, [conversation(words(10 + n), words(10)) for n in range(50)])
    loaded = load_lengths("sharegpt", n=20, seed=0, path=path, count=count_words)
    assert (loaded.survey.rows_read, len(set(loaded.input_tokens.tolist()))) == (20, 20)
    more = load_lengths("sharegpt", n=120, seed=0, path=path, count=count_words)
    assert pairs(more)[:20] == pairs(loaded)
    assert set(Counter(pairs(more)[:100]).values()) == {2}


def test_sharegpt_without_a_tokenizer_estimates_and_says_so(tmp_path: Path) -> None:
    loaded = load_lengths("sharegpt", n=1, seed=0, path=sharegpt(tmp_path, [conversation("x" * 400, "y" * 80)]))
    assert (pairs(loaded), loaded.survey.token_source) == ([(100, 20)], "estimate")
    assert estimate_tokens("") == 1


def test_sharegpt_with_nothing_usable_gives_the_reasons(tmp_path: Path) -> None:
    path = sharegpt(tmp_path, [conversation("a", "b"), {"conversations": []}, {}])
    with pytest.raises(
        BadInputError, match="None of the 3 conversations can be used: 2 × fewer than two turns, 1 × prompt"
    ):
        load_lengths("sharegpt", n=1, seed=0, path=path, count=count_words)


def test_a_file_that_is_not_sharegpt_is_refused_with_the_place(tmp_path: Path) -> None:
    path = sharegpt(tmp_path, [conversation("a", "b"), {"conversations": [{"from": "human", "value": 5}]}])
    with pytest.raises(BadInputError, match=r"is not a ShareGPT file: .*\$\[1\]\.conversations\[0\]\.value"):
        load_lengths("sharegpt", n=1, seed=0, path=path)


# --- names


@pytest.mark.parametrize(("name", "near"), [("S2L", "s2l"), ("sharegtp", "sharegpt"), ("radnom", "random")])
def test_an_unknown_dataset_is_guessed_and_the_known_ones_listed(name: str, near: str) -> None:
    with pytest.raises(BadInputError, match=f"Did you mean '{near}'") as refused:
        load_lengths(name, n=1, seed=0)
    assert all(known in refused.value.hint for known in DATASETS)


def test_a_name_like_no_other_is_not_guessed() -> None:
    with pytest.raises(BadInputError) as refused:
        load_lengths("qqqq", n=1, seed=0)
    assert "mean" not in str(refused.value)


@pytest.mark.parametrize(
    ("dataset", "path"), [("sharegpt", None), ("custom", None), ("s2s", Path("x.csv")), ("mine.csv", Path("x.csv"))]
)
def test_a_file_goes_with_the_datasets_that_need_one(dataset: str, path: Path | None) -> None:
    with pytest.raises(BadInputError) as refused:
        load_lengths(dataset, n=1, seed=0, path=path)
    assert "--dataset-path" in refused.value.hint


def test_no_requests_are_no_workload() -> None:
    with pytest.raises(BadInputError, match="0 requests"):
        load_lengths("s2s", n=0, seed=0)
