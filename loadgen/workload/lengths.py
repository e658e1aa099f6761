"""How long the prompts and answers of n requests are: datasets, files and distributions behind one function.

Rule: `load_lengths` depends on its arguments only, and the first k of n requests are the same for every n ≥ k. Rows
are taken in shuffled epochs: every row once before any row a second time. No text is made here; see `prompts`.
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import loadgen
from loadgen.errors import BadInputError
from loadgen.rng import generator
from loadgen.workload.distributions import Int64s, parse_distribution
from loadgen.workload.files import Conversation, Row, read_custom, read_sharegpt, read_table
from loadgen.workload.tokenizer import Count

INPUT_LEN_DEFAULT, OUTPUT_LEN_DEFAULT = "512", "128"
ALL = ("s2s", "s2l", "l2s", "s16k")  # the four of arXiv 2404.11502
BYTES_PER_TOKEN = 4  # of English text, roughly; what `estimate_tokens` goes by


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by name; `file` is the table that comes with loadgen, None where the lengths come from elsewhere."""

    name: str
    title: str
    file: str | None
    description: str


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset("s2s", "S2S", "s2s.csv", "1,000 short instructions with short answers (3 to 49 tokens)"),
        Dataset("s2l", "S2L", "s2l.csv", "1,000 short instructions, answers nearly uniform on 3 to 996 tokens"),
        Dataset("l2s", "L2S", "l2s.csv", "1,000 prompts of 1,007 tokens with short answers; a reconstruction"),
        Dataset("s16k", "S-16k", "s16k.csv", "80 short questions, answers forced to 16,000 tokens"),
        Dataset("random", "random", None, "lengths drawn from --input-len and --output-len (512 and 128)"),
        Dataset("sharegpt", "ShareGPT", None, "first question and answer of each conversation of a ShareGPT JSON file"),
        Dataset("custom", "custom", None, "a JSONL file of prompts, or of token counts"),
    )
}


@dataclass(frozen=True, slots=True)
class Survey:
    """Who counted the input tokens (table, drawn, tokenizer or estimate), and what became of a file's rows."""

    token_source: str
    rows_read: int = 0
    rows_kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # reason → rows


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """n requests: int64[n] of prompt tokens, int64[n] of answer tokens, and recorded prompts where there are any."""

    label: str
    input_tokens: Int64s
    output_tokens: Int64s
    texts: tuple[str, ...] | None = None
    survey: Survey = Survey("drawn")

    def __len__(self) -> int:
        return len(self.input_tokens)


def load_lengths(
    dataset: str,
    *,
    n: int,
    seed: int,
    input_len: str | None = None,
    output_len: str | None = None,
    path: Path | None = None,
    count: Count | None = None,
) -> Lengths:
    """The lengths of n requests of a dataset: a name of DATASETS, or a path to a .csv table or a .jsonl file.

    `input_len` and `output_len` (see `parse_distribution`) take the place of the dataset's own lengths; a new input
    length makes recorded prompts useless, so `texts` is None then. `path` is the file of `sharegpt` and `custom`.
    `count` counts the tokens of recorded prompts; without it they are estimated, and `survey.token_source` says so.
    Recorded prompts that are fewer than n come again. Raises BadInputError.
    """
    if n < 1:
        raise BadInputError(f"{n} requests cannot be drawn.", "Ask for at least one.")
    if dataset == "random":
        input_len, output_len = input_len or INPUT_LEN_DEFAULT, output_len or OUTPUT_LEN_DEFAULT
    inputs, outputs = (
        parse_distribution(text).draw(generator(seed, f"workload.{purpose}"), n) if text is not None else None
        for text, purpose in ((input_len, "input_len"), (output_len, "output_len"))
    )
    if dataset == "random" and inputs is not None and outputs is not None:
        return Lengths("random", inputs, outputs)
    label, source = _locate(dataset, path)
    rng = generator(seed, "workload.order")
    if label == "sharegpt":
        rows, survey = _from_conversations(read_sharegpt(source), n, rng, count)
    else:
        rows, survey = _from_rows(read_table(source) if source.suffix == ".csv" else read_custom(source), n, rng, count)
    return Lengths(
        label,
        np.array([row.input_tokens for row in rows], dtype=np.int64) if inputs is None else inputs,
        np.array([row.output_tokens for row in rows], dtype=np.int64) if outputs is None else outputs,
        tuple(row.text for row in rows if row.text is not None) or None if inputs is None else None,
        survey,
    )


def estimate_tokens(text: str) -> int:
    """Tokens of a text for want of a tokenizer: a token for every BYTES_PER_TOKEN bytes, at least one."""
    return max(1, round(len(text.encode()) / BYTES_PER_TOKEN))


def _locate(dataset: str, path: Path | None) -> tuple[str, Path]:
    """The label and the file of a dataset."""
    if dataset in {"sharegpt", "custom"}:
        if path is None:
            raise BadInputError(f"The dataset '{dataset}' is a file of yours.", "Say which: --dataset-path FILE.")
        return dataset, path
    if path is not None:
        raise BadInputError(f"The dataset '{dataset}' takes no file.", "--dataset-path goes with sharegpt and custom.")
    if Path(dataset).suffix in {".csv", ".jsonl"}:
        return Path(dataset).stem, Path(dataset)
    if dataset not in DATASETS:
        near = difflib.get_close_matches(dataset.lower(), [*DATASETS, "all"], n=1, cutoff=0.5)
        raise BadInputError(
            f"There is no dataset '{dataset}'." + (f" Did you mean '{near[0]}'?" if near else ""),
            f"Known: {', '.join(DATASETS)}, all (the first four in turn), or a path to a .csv or .jsonl file.",
        )
    return dataset, _table_path(str(DATASETS[dataset].file))


def _table_path(file: str) -> Path:
    """Where the tables lie: inside an installed package, beside the package in a checkout."""
    package = Path(loadgen.__file__).parent
    for folder in (package / "datasets", package.parent / "traces"):
        if (folder / file).is_file():
            return folder / file
    raise BadInputError(f"The table {file} that comes with loadgen is missing.", "Install loadgen again.")


def _epochs(rows: int, n: int, rng: np.random.Generator) -> list[int]:
    """n row numbers: a shuffle of all rows, then another one, and so on."""
    return [row for _ in range(-(-n // rows)) for row in rng.permutation(rows).tolist()][:n]


def _from_rows(rows: Sequence[Row], n: int, rng: np.random.Generator, count: Count | None) -> tuple[list[Row], Survey]:
    """n rows of a table or a custom file, with the missing numbers filled in."""
    order = _epochs(len(rows), n, rng)
    complete = {number: _completed(rows[number], count or estimate_tokens) for number in dict.fromkeys(order)}
    counted = any(row.input_tokens is None for row in rows)
    token_source = ("tokenizer" if count else "estimate") if counted else "table"
    return [complete[number] for number in order], Survey(token_source, len(rows), len(rows))


def _completed(row: Row, count: Count) -> Row:
    input_tokens = count(row.text) if row.input_tokens is None and row.text is not None else row.input_tokens
    return Row(input_tokens, row.output_tokens or int(OUTPUT_LEN_DEFAULT), row.text)


def _from_conversations(
    conversations: Sequence[Conversation], n: int, rng: np.random.Generator, count: Count | None
) -> tuple[list[Row], Survey]:
    """Judge conversations in shuffled order until n are kept; when the file has fewer, the kept ones come again."""
    kept: list[Row] = []
    dropped: Counter[str] = Counter()
    for number in rng.permutation(len(conversations)).tolist():
        row = _judge(conversations[number], count or estimate_tokens)
        if isinstance(row, Row):
            kept.append(row)
        else:
            dropped[row] += 1
        if len(kept) == n:
            break
    read = len(kept) + dropped.total()
    if not kept:
        reasons = ", ".join(f"{rows} × {reason}" for reason, rows in dropped.most_common())
        raise BadInputError(f"None of the {read} conversations can be used: {reasons}.", "Is this a ShareGPT file?")
    again = _epochs(len(kept), n - len(kept), rng)
    survey = Survey("tokenizer" if count else "estimate", read, len(kept), dict(dropped))
    return kept + [kept[number] for number in again], survey


# The field's filter, as vLLM and SGLang have it: too short says nothing, too long did not fit the first models.
SHAREGPT_TURN_MIN, SHAREGPT_PROMPT_MAX, SHAREGPT_TOTAL_MAX = 4, 1024, 2048


def _judge(conversation: Conversation, count: Count) -> Row | str:
    """The row that a conversation makes, or why it is dropped."""
    if conversation.turns < 2:
        return "fewer than two turns"
    if conversation.speaker not in {"human", "user"}:
        return "does not begin with a human"
    prompt_tokens = count(conversation.prompt) if conversation.prompt else 0
    answer_tokens = count(conversation.answer) if conversation.answer else 0
    if prompt_tokens < SHAREGPT_TURN_MIN:
        return f"prompt under {SHAREGPT_TURN_MIN} tokens"
    if answer_tokens < SHAREGPT_TURN_MIN:
        return f"answer under {SHAREGPT_TURN_MIN} tokens"
    if prompt_tokens > SHAREGPT_PROMPT_MAX:
        return f"prompt over {SHAREGPT_PROMPT_MAX} tokens"
    if prompt_tokens + answer_tokens > SHAREGPT_TOTAL_MAX:
        return f"prompt and answer over {SHAREGPT_TOTAL_MAX} tokens"
    return Row(prompt_tokens, answer_tokens, conversation.prompt)
