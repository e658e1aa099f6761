"""What is typed wrong is one sentence with a hint, from the simulator as from every command."""

import pytest

from loadgen.errors import BadInputError
from loadgen.simulator.__main__ import main
from loadgen.simulator.options import parse_options

WRONG = {
    "a port of letters": (["--port", "abc"], "--port: 'abc' is not a whole number."),
    "a port that is none": (["--port", "70000"], "70000 is not from 0 to 65535."),
    "a flag that is near another": (["--prot", "1"], "Unknown option --prot."),
    "an unknown policy": (["--batching", "x"], "invalid choice: 'x'"),
    "no slot": (["--max-num-seqs", "0"], "0 is not 1 or more."),
    "a queue of less than nothing": (["--max-queue", "-1"], "-1 is less than 0."),
    "a time of letters": (["--ttft-ms", "soon"], "'soon' is not a number."),
    "a probability of three": (["--eos-probability", "3"], "3 is not from 0 to 1."),
    "a share of nothing": (["--efficiency", "0"], "0 is not more than 0 and at most 1."),
    "no value": (["--api-key"], "expected one argument."),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG)
def test_a_bad_value_is_one_sentence_and_a_hint(arguments: list[str], sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_options(arguments)
    assert sentence in str(caught.value)
    assert "`loadgen serve simulator --help`" in caught.value.hint


def test_the_program_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "abc"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
