"""How each server is made to produce exactly N tokens and to say how many it did: one table, and how to back off.

No engine needs to be named for this to work: the probe sends the first row that the server takes and drops what it
refuses (`loadgen.engines.probe`). Where a row comes from: docs/engines.md, "Exactly N output tokens".
"""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Dialect:
    """What to add to a request for `n` output tokens. `length_forced` is False when the server may stop earlier."""

    fields: dict[str, Any]  # beside max_tokens; the value "n" stands for the number of tokens
    length_forced: bool
    note: str

    def spell(self, n: int, *, stream: bool) -> dict[str, Any]:
        """The fields of one request."""
        spelled: dict[str, Any] = {"max_tokens": n, "stream": stream}
        for name, value in self.fields.items():
            if name != "stream_options" or stream:
                spelled[name] = n if value == "n" else value
        return spelled


_USAGE: Final = {"include_usage": True}

# In this order; each is what the next server down the line could not take.
DIALECTS: Final = (
    Dialect(
        {"ignore_eos": True, "min_tokens": "n", "stream_options": _USAGE},
        True,
        "vLLM, SGLang, llama.cpp, llama-cpp-python, DeepSpeed-MII, TensorRT-LLM: each heeds one and ignores the rest",
    ),
    Dialect({"ignore_eos": True, "stream_options": _USAGE}, True, "servers that check min_tokens against something"),
    Dialect(
        {"generation_config": '{"eos_token_id": -1}'}, True, "transformers serve: refuses fields that it does not know"
    ),
    Dialect({"stream_options": _USAGE}, False, "servers without any way to force a length"),
    Dialect({}, False, "servers that know max_tokens and nothing else"),
)


def without(dialect: Dialect, refused: list[str]) -> Dialect:
    """The same dialect less the fields that a server named in its refusal."""
    fields = {name: value for name, value in dialect.fields.items() if name not in refused}
    forced = dialect.length_forced and bool({"ignore_eos", "min_tokens", "generation_config"} & set(fields))
    return Dialect(fields, forced, dialect.note)
