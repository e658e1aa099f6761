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
        "vLLM, SGLang, llama.cpp, llama-cpp-python, TensorRT-LLM: each heeds one and ignores the rest",
    ),
    Dialect({"ignore_eos": True, "stream_options": _USAGE}, True, "servers that check min_tokens against something"),
    Dialect(
        {"generation_config": '{"eos_token_id": -1}'}, True, "transformers serve: refuses fields that it does not know"
    ),
    Dialect({"stream_options": _USAGE}, False, "servers without any way to force a length"),
    Dialect({}, False, "servers that know max_tokens and nothing else"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an engine before it is asked. The probe still asks: a known row is only tried first."""

    dialect: Dialect
    takes_ids: bool  # prompts as token ids
    counts: str  # how it says the number of output tokens
    names: str  # what `model` must be
    connection: str  # what it does with a connection after a streamed answer


_EOS_AND_USAGE: Final = Dialect({"ignore_eos": True, "stream_options": _USAGE}, True, "end of sequence is ignored")
_MIN_TOKENS: Final = Dialect({"min_tokens": "n"}, True, "end of sequence is masked")
# MII counts the prompt among its min_tokens: n of them force nothing after a prompt of n. Only max_tokens is to end it.
_ENDLESS: Final = Dialect({"min_tokens": 1_000_000}, True, "end of sequence is ignored")
_ASKED: Final = "usage, when asked"
# By the name that the engine's script gives itself (servers/): a second copy of the server's habits is kept nowhere.
ENGINES: Final = {
    "vllm": Known(_EOS_AND_USAGE, True, _ASKED, "--served-model-name; 404 else", "kept, 5 s idle"),
    "sglang": Known(_EOS_AND_USAGE, True, _ASKED, "--served-model-name", "kept, 5 s idle"),
    "tensorrt_llm": Known(_EOS_AND_USAGE, True, _ASKED, "the folder's name", "kept, 5 s idle"),
    "llama-server": Known(_EOS_AND_USAGE, True, _ASKED, "anything", "closed, though it promises to keep it"),
    "xllamacpp": Known(_EOS_AND_USAGE, True, _ASKED, "anything", "closed, though it promises to keep it"),
    "llama_cpp.server": Known(_MIN_TOKENS, False, "never: as asked, or by events", "anything", "kept, 5 s idle"),
    "transformers": Known(DIALECTS[2], False, "usage, always", "the text given as --model; 400 else", "kept, 5 s idle"),
    "deepspeed_mii": Known(
        _ENDLESS, False, "never: as asked, or by events", "the text given as --model", "kept, 300 s"
    ),
}
# What a server says of itself in /v1/models → its row, where the first row of DIALECTS is taken and not heeded.
OWNERS: Final = {"deepspeed-mii": "deepspeed_mii"}


def without(dialect: Dialect, refused: list[str]) -> Dialect:
    """The same dialect less the fields that a server named in its refusal."""
    fields = {name: value for name, value in dialect.fields.items() if name not in refused}
    forced = dialect.length_forced and bool({"ignore_eos", "min_tokens", "generation_config"} & set(fields))
    return Dialect(fields, forced, dialect.note)
