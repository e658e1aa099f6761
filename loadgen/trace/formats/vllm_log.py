"""vLLM's log with --enable-log-requests: who came when, in whole seconds and without a year. It is often not enough.

The prompt's ids or its text stand there only in older versions or at debug level, the answer's with
--enable-log-outputs; what is not there is unknown. Nothing in it is evaluated: ids are counted by their commas.
"""

import re
from functools import lru_cache

import numpy as np

from loadgen.trace.assemble import Choices, Draft, assemble
from loadgen.trace.reading import Head, pieces_of_lines
from loadgen.trace.table import UNKNOWN, Survey, Trace, column
from loadgen.trace.written import iso_ns, texts
from loadgen.units import NS_PER_S

_RECEIVED = re.compile(r"(\d\d-\d\d \d\d:\d\d:\d\d)[^\]]*\] Received request (\S+?):")
_GENERATED = re.compile(r"Generated response (\S+?)( \(streaming delta\))?:.*?output_token_ids: (\[[\d, ]*\]|\S+)")
_DETAILS = re.compile(r"Request (\S+?) details:")
_IDS = re.compile(r"prompt_token_ids: (\[[\d, ]*\])")
_TEXT = re.compile(r"prompt: (?:'(.*?)'|\"(.*?)\"), (?:params|prompt_token_ids)")
_YEAR = 2000  # the log names none; one with a 29th of February
_HALF_YEAR_NS = 182 * 24 * 3600 * NS_PER_S
_PLAIN = {"\\n": "\n", "\\t": "\t", "\\'": "'", '\\"': '"', "\\\\": "\\"}


def matches(head: Head) -> bool:
    return b"] Received request " in head.data


def load(head: Head, survey: Survey, choices: Choices) -> Trace:
    """Every request is kept. Raises BadInputError where there is none."""
    survey.format = "vLLM log"
    at_ns: list[int] = []
    row: list[int] = []
    inputs: list[int] = []
    prompts: list[str | None] = []
    outputs: dict[int, int] = {}  # by the request's place
    places: dict[str, int] = {}
    turned = 0  # years since the first line
    for numbers, piece in pieces_of_lines(head.path):
        for line, text in zip(numbers, piece.decode(errors="replace").split("\n"), strict=False):
            if "] Received request " in text and (match := _RECEIVED.search(text)):
                moment = _moment(match[1], turned)
                if moment is None:
                    survey.drop("a time that no calendar has")
                    continue
                if at_ns and at_ns[-1] - moment > _HALF_YEAR_NS:
                    turned += 1
                    moment = _moment(match[1], turned) or moment
                places[match[2]] = len(at_ns)
                at_ns.append(moment)
                row.append(line)
                inputs.append(_ids(text, match.end()))
                prompts.append(_prompt(text, match.end()))
            elif " details:" in text and (match := _DETAILS.search(text)):
                if (place := places.get(match[1])) is not None:
                    inputs[place] = max(inputs[place], _ids(text, match.end()))
                    prompts[place] = prompts[place] or _prompt(text, match.end())
            elif (
                "Generated response " in text
                and (match := _GENERATED.search(text))
                and not match[2]
                and (place := places.get(match[1])) is not None
            ):
                outputs[place] = _listed(match[3])
    survey.rows_read = len(at_ns) + sum(survey.dropped.values())
    survey.oddities.append("The log has whole seconds and no year.")
    survey.oddities.append(
        f"Lengths that are known, of {len(at_ns):,} requests: {len(at_ns) - inputs.count(UNKNOWN):,} of prompts, "
        f"{len(outputs):,} of answers. `loadgen capture` in front of the server records all."
    )
    answers = column(len(at_ns))
    answers[list(outputs)] = list(outputs.values())
    draft = Draft(np.array(at_ns, np.int64), np.array(row, np.int64), np.array(inputs, np.int64), answers)
    draft.texts = texts(prompts)
    return assemble(draft, survey, choices)


@lru_cache(maxsize=4096)
def _moment(stamp: str, turned: int) -> int | None:
    """`05-10 18:15:46` in ns since 1970, as if the log had begun in a leap year; None where no calendar has it."""
    return iso_ns(f"{_YEAR + turned % 1000}-{stamp}")


def _ids(text: str, start: int) -> int:
    found = _IDS.search(text, start)
    return UNKNOWN if found is None else _listed(found[1])


def _listed(ids: str) -> int:
    return ids.count(",") + 1 if len(ids) > 2 else 0


def _prompt(text: str, start: int) -> str | None:
    """The prompt as Python wrote it, the usual escapes undone."""
    found = _TEXT.search(text, start)
    if found is None:
        return None
    return re.sub(r"\\[nt'\"\\]", lambda match: _PLAIN[match[0]], found[1] or found[2] or "") or None
