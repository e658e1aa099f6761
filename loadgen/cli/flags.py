"""From the table of options to a parser, and from what it read to settings."""

from pathlib import Path

from loadgen.config import OPTIONS, Settings, make_settings, options_of
from loadgen.parser import Parser as Parser  # the commands find it here


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
            action, about = (
                "append" if option.repeated or option.key == "engine" else "store",
                option.help.replace("%", "%%"),
            )
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
