"""vLLM's log with --enable-log-requests: who came when, in whole seconds and without a year. It is often not enough.

The prompt's ids or its text stand there only in older versions or at debug level, the answer's with
--enable-log-outputs; what is not there is unknown. Nothing in it is evaluated: ids are counted by their commas.
"""

import re
from datetime import UTC, datetime

from loadgen.trace.assemble import Choices, assemble
from loadgen.trace.gather import Gathered
from loadgen.trace.reading import Head, pieces_of_lines
from loadgen.trace.table import UNKNOWN, Survey, Trace
from loadgen.units import NS_PER_S

_RECEIVED = re.compile(r"(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)[^\]]*\] Received request (\S+?):")
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
    gathered = Gathered(head, survey)
    places: dict[str, int] = {}
    turned = 0  # years since the first line
    for number, piece in pieces_of_lines(head.path):
        for line, raw in enumerate(piece.split(b"\n"), number):
            text = raw.decode(errors="replace")
            if match := _RECEIVED.search(text):
                survey.rows_read += 1
                at_ns = _moment(match, turned)
                if at_ns is None:
                    gathered.drop("a time that no calendar has")
                    continue
                if gathered.at_ns and gathered.at_ns[-1] - at_ns > _HALF_YEAR_NS:
                    turned += 1
                    at_ns = _moment(match, turned) or at_ns
                places[match[6]] = len(gathered.at_ns)
                gathered.add(line, at_ns, input_tokens=_ids(text), text=_prompt(text))
            elif match := _DETAILS.search(text):
                if (place := places.get(match[1])) is not None:
                    gathered.input_tokens[place] = max(gathered.input_tokens[place], _ids(text))
                    gathered.text[place] = gathered.text[place] or _prompt(text)
            elif (match := _GENERATED.search(text)) and not match[2] and (place := places.get(match[1])) is not None:
                gathered.output_tokens[place] = match[3].count(",") + 1 if len(match[3]) > 2 else 0
    known = [sum(each >= 0 for each in column) for column in (gathered.input_tokens, gathered.output_tokens)]
    n = len(gathered.at_ns)
    survey.oddities.append("The log has whole seconds and no year.")
    survey.oddities.append(
        f"Lengths that are known, of {n:,} requests: {known[0]:,} of prompts, {known[1]:,} of answers. "
        "`loadgen capture` in front of the server records all."
    )
    return assemble(gathered.draft(in_order=True, absolute=False), survey, choices)


def _moment(match: re.Match[str], turned: int) -> int | None:
    month, day, hour, minute, second = (int(match[k]) for k in range(1, 6))
    try:
        moment = datetime(_YEAR + turned % 1000, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * NS_PER_S


def _ids(text: str) -> int:
    found = _IDS.search(text)
    if found is None:
        return UNKNOWN
    return found[1].count(",") + 1 if len(found[1]) > 2 else 0


def _prompt(text: str) -> str | None:
    """The prompt as Python wrote it, the usual escapes undone."""
    found = _TEXT.search(text)
    if found is None:
        return None
    return re.sub(r"\\[nt'\"\\]", lambda match: _PLAIN[match[0]], found[1] or found[2] or "") or None
