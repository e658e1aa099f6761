"""What cannot be done is said in one sentence, before anything is started."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.saturate import searched

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--budget", "0s"), "--budget: A duration of 0s is too short."),
        (("--budget", "soon"), "--budget: 'soon' is not a duration."),
        (("--precision", "0"), "--precision: '0' is not a precision."),
        (("--precision", "3"), "--precision: '3' is not a precision."),
        (("--slo", "ttft_p99"), "'ttft_p99' is not an SLO clause."),
        (("--slo", "mlperf:gpt-9"), "There is no preset 'mlperf:gpt-9'."),
        (("--dataset", "all"), "A search has one dataset"),
        (("--rates", "1..4"), "Unknown option --rates"),
        (("--resume", "nowhere"), "nowhere holds no search."),
        (("--resume", "one", "--out", "two"), "--resume and --out exclude each other."),
    ],
)
def test_bad_input(arguments: tuple[str, ...], sentence: str, command: Command) -> None:
    code, out, err = command("saturate", *arguments)
    assert code == ExitCode.USAGE
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) <= 2


def test_a_folder_that_is_no_unfinished_search_is_left_alone(command: Command, elsewhere: Path) -> None:
    (elsewhere / "mine").mkdir()
    code, _, err = command("saturate", "--out", "mine")
    assert code == ExitCode.USAGE
    assert "The folder mine exists already." in err
    assert not list((elsewhere / "mine").iterdir())


def test_a_search_is_not_resumed_with_other_options(command: Command, elsewhere: Path) -> None:
    (elsewhere / "s").mkdir()
    (elsewhere / "s" / searched.HEADER).write_text('{"settings": {"dataset": "random", "slo": "ttft_p99=1s"}}')
    engine = ("--engine", "simulator --ttft-ms 1 --itl-ms 1")
    code, _, err = command("saturate", "--resume", "s", "--slo", "ttft_p99=2s", *engine)
    assert code == ExitCode.USAGE
    assert "was begun with another --slo." in err
