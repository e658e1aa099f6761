"""Lists of numbers read all at once against msgspec, which reads them one by one; what is no such list is refused."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.trace.idlists import id_lists

IDS = st.one_of(
    st.integers(0, 12), st.integers(0, 10**8 + 5), st.integers(10**15, 10**16 + 5), st.integers(0, 2**63 - 1)
)


@given(lists=st.lists(st.lists(IDS, max_size=5), max_size=6), spaced=st.sampled_from([",", ", ", " ,\n\t"]))
def test_every_number_stands_in_its_list(lists: list[list[int]], spaced: str) -> None:
    raws = [msgspec.Raw(json.dumps(each, separators=(spaced, ":")).encode()) for each in lists]
    lengths, ids = id_lists(Path("f"), "hash_ids", raws, range(len(lists)))
    assert lengths.tolist() == [len(each) for each in lists]
    assert ids.tolist() == [number for each in lists for number in each]


@pytest.mark.parametrize(
    "held", ['["1"]', "[1, [2]]", "[[1]]", "[-1]", "[1.0]", "[1e3]", "[9223372036854775808]", "7", "null"]
)
def test_anything_else_is_refused_with_its_line(held: str) -> None:
    raws = [msgspec.Raw(b"[1, 2]"), msgspec.Raw(held.encode())]
    with pytest.raises(BadInputError, match=r"f, line 9: Expected") as raised:
        id_lists(Path("f"), "hash_ids", raws, [8, 9])
    assert "`" not in str(raised.value)
