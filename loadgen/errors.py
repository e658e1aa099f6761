"""What the user is told when something cannot be done: one sentence, a hint, an exit code; never a traceback."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The process exit codes of every command (`docs/cli.md`)."""

    OK = 0
    THRESHOLD = 1
    USAGE = 2
    NOT_VALID = 3
    INTERRUPTED = 130


class LoadgenError(Exception):
    """Anything a user can put right. `str(error)` is the sentence; `hint` says what to try next."""

    exit_code = ExitCode.USAGE

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.hint = hint


class BadInputError(LoadgenError):
    """A flag, a TOML key, a dataset or a trace that cannot be understood."""


class TargetError(LoadgenError):
    """The server under test cannot be reached, or does not speak the protocol."""


class EngineError(LoadgenError):
    """An engine could not be started, or died."""


class RunFolderError(LoadgenError):
    """A run folder exists already, is missing, or cannot be read or written."""
