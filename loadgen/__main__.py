"""`python -m loadgen` and the `loadgen` command."""

import sys


def main() -> int:
    from loadgen.cli.main import run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
