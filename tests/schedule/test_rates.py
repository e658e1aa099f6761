"""The text of --rates."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import BadInputError
from loadgen.schedule.rates import RATES_MAX, parse_rates


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("1..64", [1, 2, 4, 8, 16, 32, 64]),
        ("1..100", [1, 2, 4, 8, 16, 32, 64, 100]),
        ("0.5..3", [0.5, 1, 2, 3]),
        ("8..8", [8]),
        ("1..64+8", [1, 9, 17, 25, 33, 41, 49, 57]),
        ("1..65+8", [1, 9, 17, 25, 33, 41, 49, 57, 65]),
        ("0.1..0.5+0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("1..100/3", [1, 10, 100]),
        ("1,4,9", [1, 4, 9]),
        ("9, 4 ,1", [9, 4, 1]),
        ("inf", [math.inf]),
        ("1..4,6,8..16,inf", [1, 2, 4, 6, 8, 16, math.inf]),
        ("1..8,4..16", [1, 2, 4, 8, 16]),
    ],
)
def test_rates(text, rates):
    assert list(parse_rates(text)) == rates


def test_twelve_log_spaced_rates():
    rates = parse_rates("1..64/12")
    assert len(rates) == 12
    assert (rates[0], rates[-1]) == (1, 64)
    ratios = [after / before for before, after in itertools.pairwise(rates)]
    assert ratios == pytest.approx([64 ** (1 / 11)] * 11)


@pytest.mark.parametrize(
    "text",
    [
        *("64..1", "64..1/3", "0", "abc", "", "1..", "..8", "1,,2", "1,", "-4", "-1..4", "nan", "1..nan", "1..inf"),
        *("1..64/0", "1..64/1", "1..64/2.5", "1..64/inf", "1..64/", "1..64/x", "1..64/nan", "1..64/-3", "inf..inf"),
        *("1..64+0", "1..64+-8", "1..64+inf", "1..64+", "1..2000+1", "1..64/2000", "1..2+1e-9", "1e300", "1..2..3"),
        ",".join(map(str, range(1, 1002))),
    ],
)
def test_bad_text_is_one_sentence_and_a_hint(text):
    with pytest.raises(BadInputError) as raised:
        parse_rates(text)
    assert str(raised.value).endswith(".")
    assert raised.value.hint


@given(st.text(alphabet="0123456789.,+/-einfa ", max_size=20))
def test_any_text_parses_or_is_refused(text):
    try:
        rates = parse_rates(text)
    except BadInputError:
        return
    assert 1 <= len(rates) <= RATES_MAX
    assert len(set(rates)) == len(rates)
    assert all(rate > 0 for rate in rates)


@given(st.floats(0.01, 1000), st.floats(1, 1000))
def test_doubling_ends_at_the_end_and_never_more_than_doubles(first, factor):
    last = first * factor
    rates = parse_rates(f"{first!r}..{last!r}")
    assert (rates[0], rates[-1]) == (first, last)
    assert all(before < after <= 2 * before for before, after in itertools.pairwise(rates))
