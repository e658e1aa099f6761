"""`loadgen capture`: a recording proxy in front of a server, until Ctrl-C."""

import sys
import time
from pathlib import Path

from loadgen.cli.flags import Parser
from loadgen.errors import BadInputError, ExitCode, TargetError
from loadgen.target import parse_target
from loadgen.units import parse_count


def capture_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        prog="loadgen capture",
        description="A reverse proxy that passes everything through unchanged and writes a replayable trace. Nothing "
        "that identifies is stored: no text, no key, no address.",
    )
    parser.add_argument("--upstream", required=True, metavar="URL", help="the server that answers")
    parser.add_argument(
        "--listen", default="127.0.0.1:9001", metavar="HOST:PORT", help="where clients connect (127.0.0.1:9001)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to make (captures/<when>)")
    parser.add_argument("--block", default="16", metavar="TOKENS", help="tokens of a prompt block that is hashed (16)")
    parser.add_argument("--session-header", metavar="NAME", help="header that names the conversation (X-Session-Id, …)")
    parser.add_argument("--keep-text", action="store_true", help="also store the requests, with all that people wrote")
    return parser


def capture(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM, then let running answers end."""
    options = capture_parser().parse_args(arguments)
    upstream = parse_target(options.upstream)
    host, port = _address(options.listen)
    block = parse_count(options.block)
    if block < 1:
        raise BadInputError("--block must be at least 1 token.", "16 is what vLLM shares prefixes in.")
    folder = options.out or Path("captures") / time.strftime("%Y%m%d-%H%M%S")

    from loadgen.capture.proxy import Proxy
    from loadgen.capture.serving import listening, serve, url_of
    from loadgen.capture.writer import TRACE, Writer
    from loadgen.engines.asking import Asker
    from loadgen.records.folder import create

    with listening(host, port) as listener:  # before anything is made: the address may be in use
        create(folder)
        try:
            Asker(upstream, {}).address()
        except TargetError as error:
            print(f"Warning: {error} Until that changes, requests are answered with 502.", file=sys.stderr)
        writer = Writer(folder, upstream.root, block, options.keep_text)
        words = f"Passing {url_of(listener)} on to {upstream.root}, writing to {folder}. Ctrl-C ends it."
        try:
            serve(Proxy(upstream, writer, options.session_header), listener, lambda: print(words, flush=True))
        finally:
            writer.close()
    missed = "".join(f", {count:,} missed ({reason})" for reason, count in writer.missed.items())
    print(f"{writer.recorded:,} requests recorded{missed}: {folder / TRACE}")
    return ExitCode.OK


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < 65536:
        raise BadInputError(f"--listen {text} is not an address.", "Write it like 127.0.0.1:9001 or [::1]:9001.")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 (as asked: an empty host is every address)
