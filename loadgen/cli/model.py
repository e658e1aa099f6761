"""`loadgen model SHAPE DIR`: write a generated model to serve when there is none. No download, no torch."""

import time
from pathlib import Path

from loadgen.cli.flags import Parser
from loadgen.errors import BadInputError, ExitCode

_ABOUT = """Write a model with random weights that never ends by itself and prints plain text: config, tokenizer, chat
template and weights, for every engine that reads Hugging Face folders; with --gguf for llama.cpp too. `tiny` has 5 M
parameters; any other shape is one that `loadgen roofline` knows (llama-2-7b, mistral-7b …)."""


def model_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog="loadgen model", description=_ABOUT, allow_abbrev=False)
    parser.add_argument("names", nargs="+", metavar="[SHAPE] DIR", help="tiny, and a new or empty folder")
    parser.add_argument("--shape", metavar="SHAPE", help="tiny, llama-2-7b …; stronger than the first word")
    parser.add_argument(
        "--no-weights", action="store_true", help="config and tokenizer: for engines with dummy weights"
    )
    parser.add_argument("--gguf", action="store_true", help="model.gguf, too; with --no-weights nothing but it")
    parser.add_argument("--context", type=int, metavar="N", help="tokens that it takes (4096)")
    parser.add_argument(
        "--ends", action="store_true", help="it ends at once instead of never: to test how servers stop"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the weights (0)")
    return parser


def model(arguments: list[str]) -> int:
    """Write it, and say how it is used."""
    options = model_parser().parse_args(arguments)

    from loadgen.tinymodel.shape import CONTEXT_DEFAULT, find_shape
    from loadgen.tinymodel.write import GGUF_NAME, write_model

    *said, name = options.names
    if len(said) > 1:
        raise BadInputError(f"'{name}' was not expected.", "Write: loadgen model tiny DIR")
    if not said and options.shape is None:
        raise BadInputError("A shape or a folder is missing.", f"Write: loadgen model tiny {name}")
    chosen, folder = options.shape or said[0], Path(name)
    context = CONTEXT_DEFAULT if options.context is None else options.context
    shape = find_shape(chosen, context, 10.0 if options.ends else -30.0)
    began = time.monotonic()
    write_model(folder, shape, weights=not options.no_weights, gguf=options.gguf, seed=options.seed)
    size = sum(path.stat().st_size for path in folder.iterdir())
    parameters = shape.transformer.parameters
    print(
        f"{folder}: {chosen}, {parameters / 1e6:,.1f} M parameters, {context:,} tokens, "
        f"{size / 1e6:,.1f} MB on disk, {time.monotonic() - began:.1f} s."
    )
    if options.gguf:
        print(f'  loadgen sweep --engine "llama.cpp --model {folder / GGUF_NAME}"')
    if options.no_weights and not options.gguf:
        print(f'  loadgen sweep --engine "vllm --model {folder} --dummy-weights"')
    elif not options.no_weights:
        print(f'  loadgen sweep --engine "vllm --model {folder}"')
    return ExitCode.OK
