"""How the wish for exactly n tokens is spelled, and what is left of it when a server refuses fields."""

import itertools
import json

from loadgen.endpoints.dialects import DIALECTS, without
from loadgen.endpoints.openai import PATHS, encode


def test_a_body_holds_the_prompt_and_the_fields_and_the_users_own_win() -> None:
    fields = DIALECTS[0].spell(7, stream=True) | {"ignore_eos": False}
    assert json.loads(encode("completions", "m", [1, 2], fields)) == {
        "model": "m",
        "prompt": [1, 2],
        "max_tokens": 7,
        "stream": True,
        "ignore_eos": False,
        "min_tokens": 7,
        "stream_options": {"include_usage": True},
    }
    chat = json.loads(encode("chat", "m", 'say "ü"', {}))
    assert chat == {"model": "m", "messages": [{"role": "user", "content": 'say "ü"'}]}
    assert set(PATHS) == {"chat", "completions"}


def test_stream_options_are_for_streams() -> None:
    """vLLM refuses them in a request without stream."""
    assert "stream_options" not in DIALECTS[0].spell(3, stream=False)
    assert DIALECTS[0].spell(3, stream=False)["min_tokens"] == 3


def test_without_what_was_refused() -> None:
    first = DIALECTS[0]
    assert without(first, ["min_tokens"]).length_forced
    assert set(without(first, ["min_tokens"]).fields) == {"ignore_eos", "stream_options"}
    bare = without(first, ["ignore_eos", "min_tokens"])
    assert not bare.length_forced
    assert bare.spell(3, stream=False) == {"max_tokens": 3, "stream": False}


def test_each_row_asks_for_less_than_the_one_before_it_or_for_something_else() -> None:
    spelled = [dialect.spell(5, stream=True) for dialect in DIALECTS]
    assert all(a != b for a, b in itertools.pairwise(spelled))
    assert spelled[-1] == {"max_tokens": 5, "stream": True}
    assert [dialect.length_forced for dialect in DIALECTS] == [True, True, True, False, False]
