"""What is written of a prompt: equal prefixes can be told, nothing else can."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgen.capture.anonymise import HASH_BITS, Anonymiser

SALT = b"s" * 32
ids = st.lists(st.integers(0, 200_000), min_size=1, max_size=80)


def said(*texts: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[k % 2], "content": text} for k, text in enumerate(texts)]}


@given(ids, ids, st.integers(1, 20))
def test_as_many_blocks_are_shared_as_whole_blocks_of_the_prompts(a: list[int], b: list[int], block: int) -> None:
    anonymiser = Anonymiser(block, SALT)
    first, second = anonymiser.blocks({"prompt": a}), anonymiser.blocks({"prompt": b})
    assert (len(first), len(second)) == (-(-len(a) // block), -(-len(b) // block))
    common = 0
    while common < min(len(first), len(second)) and first[common] == second[common]:
        common += 1
    pieces_a = [a[k : k + block] for k in range(0, len(a), block)]
    pieces_b = [b[k : k + block] for k in range(0, len(b), block)]
    assert all(
        (x == y) == (k < common) for k, (x, y) in enumerate(zip(pieces_a, pieces_b, strict=False)) if k <= common
    )
    assert not set(first[common:]) & set(second[common:])  # once apart, apart for good
    assert all(0 <= each < 1 << HASH_BITS for each in first)


def test_another_salt_another_hash() -> None:
    request = said("hello")
    assert Anonymiser(16, SALT).blocks(request) == Anonymiser(16, SALT).blocks(request)
    assert Anonymiser(16).blocks(request) != Anonymiser(16).blocks(request)


def test_a_conversation_is_told_by_its_beginning() -> None:
    anonymiser = Anonymiser(16, SALT)
    first = anonymiser.session(said("Hello"), None)
    other = anonymiser.session(said("Good morning"), None)
    assert anonymiser.session(said("Hello", "Hi!", "How are you?"), None) == first
    assert anonymiser.session(said("Hello", "Hi!", "How are you?", "Fine.", "Good."), None) == first
    assert anonymiser.session(said("Good morning", "Hi.", "Yes"), None) == other != first
    assert anonymiser.session(said("Hello"), None) != first  # somebody else who says hello
    assert anonymiser.session({"prompt": "Hello"}, None) is None  # a bare prompt tells nothing


def test_a_header_names_the_conversation_and_does_not_appear() -> None:
    anonymiser = Anonymiser(16, SALT)
    name = anonymiser.session(said("a"), "customer-42")
    assert name == anonymiser.session(said("b"), "customer-42") != anonymiser.session(said("a"), "customer-43")
    assert "customer" not in str(name)
