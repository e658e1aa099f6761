"""argparse that raises our error: one sentence and a hint, with a guess at what was meant, never a page of usage.

Apart from the command line because the simulator is a program of its own and says the same sentences.
"""

import argparse
import difflib
import re
from typing import NoReturn

from loadgen.errors import BadInputError

_INVALID = re.compile(r"argument (\S+): invalid (\S+) value: ('.*')")


class Parser(argparse.ArgumentParser):
    """Raises BadInputError where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        hint = f"See `{self.prog} --help`."
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = difflib.get_close_matches(word.partition("=")[0], flags, 1)
            hint = f"Did you mean {near[0]}? {hint}" if near else hint
            message = f"unknown option {word}" if word.startswith("-") else f"'{word}' was not expected"
        if invalid := _INVALID.fullmatch(message):
            flag, kind, value = invalid.groups()
            number = {"int": "a whole number", "float": "a number"}.get(kind, "what it takes")
            raise BadInputError(f"{flag}: {value} is not {number}.", hint)
        raise BadInputError(f"{message[0].upper()}{message[1:]}.", hint)
