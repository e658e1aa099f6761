"""From the table of options to a parser, and from its mistakes to sentences."""

import argparse
import difflib
from pathlib import Path
from typing import NoReturn

from loadgen.config import OPTIONS, Settings, make_settings, options_of
from loadgen.errors import BadInputError


class Parser(argparse.ArgumentParser):
    """argparse that raises our error, with a guess at what was meant."""

    def error(self, message: str) -> NoReturn:
        hint = f"See `{self.prog} --help`."
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = difflib.get_close_matches(word.partition("=")[0], flags, 1)
            hint = f"Did you mean {near[0]}? {hint}" if near else hint
            message = f"unknown option {word}" if word.startswith("-") else f"'{word}' was not expected"
        raise BadInputError(f"{message[0].upper()}{message[1:]}.", hint)


def parser_of(command: str, description: str) -> Parser:
    """The parser of a command that puts load on a server."""
    parser = Parser(prog=f"loadgen {command}", description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML with these options; flags are stronger")
    titles = dict.fromkeys(option.group for option in options_of(command))
    groups = {title: parser.add_argument_group(title) for title in titles}
    for option in options_of(command):
        group = groups[option.group]
        if option.parse is None:
            group.add_argument(option.flag, dest=option.key, action="store_true", default=None, help=option.help)
        else:
            action, about = "append" if option.repeated else "store", option.help.replace("%", "%%")
            metavar = option.metavar or option.key.upper()
            group.add_argument(option.flag, dest=option.key, action=action, metavar=metavar, help=about)
    return parser


def read_settings(command: str, description: str, arguments: list[str]) -> Settings:
    """Parse a command line. Raises BadInputError; `--help` prints and exits as argparse does."""
    given = vars(parser_of(command, description).parse_args(arguments))
    config = given.pop("config")
    return make_settings(command, {key: value for key, value in given.items() if value is not None}, config)


def flags() -> list[str]:
    """Every flag that exists, for the documents' test."""
    return [option.flag for option in OPTIONS]
