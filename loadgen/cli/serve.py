"""`loadgen serve ENGINE`: a server in the foreground, ready when it says so, until Ctrl-C."""

import os
import signal
import sys
import tempfile
from pathlib import Path

from loadgen.errors import ExitCode

USAGE = """usage: loadgen serve ENGINE [options]

  simulator       an OpenAI-compatible server of ours; `loadgen serve simulator --help` lists its options
  llama.cpp       llama-server on the PATH, the wheel xllamacpp, or llama_cpp.server (--through says which)
  vllm  sglang  tensorrt-llm  deepspeed-mii  transformers

The engine must be installed; these words mean the same for each of them (docs/engines.md has the table):

  --model PATH                     a model's folder, or its name on the hub; llama.cpp: a .gguf
                                   (default: a generated model with 5 M random parameters)
  --served-model-name NAME         what requests call it
  --host ADDRESS  --port N         127.0.0.1 and 8000; port 0 is a free one
  --device cuda|cpu                cuda where nvidia-smi is found
  --tensor-parallel-size N         GPUs that share each matrix
  --max-model-len N                tokens of a request, prompt and answer together
  --max-num-seqs N                 requests worked on at once: the concurrency cap
  --max-num-batched-tokens N       tokens computed in one step
  --gpu-memory-utilization SHARE   of the GPU's memory
  --dtype TYPE                     bfloat16, float16, float32, auto
  --[no-]enable-prefix-caching     --[no-]enable-chunked-prefill
  --dummy-weights                  random weights: only config and tokenizer are read
  --python PATH                    the interpreter of the environment that has the engine (this one)
  --ready-timeout TIME             how long to wait for the first token (600s)
  --log FILE                       where the engine's own words go (a file in the folder for temporary files)
  --plan                           print the command and start nothing

Any other option goes to the engine as it is."""


def serve(arguments: list[str]) -> int:
    """Start an engine, wait until it is ready, hold it until Ctrl-C. The simulator takes this process over."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return ExitCode.OK

    from loadgen.engines.catalog import SIMULATOR, find_engine

    name, rest = arguments[0], arguments[1:]
    if find_engine(name)[0] == SIMULATOR:
        # Signals reach it, its exit code is ours, and no orphan can stay behind.
        os.execv(sys.executable, [sys.executable, "-m", "loadgen.simulator", *rest])  # noqa: S606 (no shell is wanted)
    if "-h" in rest or "--help" in rest:
        print(USAGE)
        return ExitCode.OK
    return _hold(name, rest)


def _hold(name: str, rest: list[str]) -> int:
    import shlex

    from loadgen.cli.flags import Parser
    from loadgen.engines.starting import launch_engine, plan_engine

    parser = Parser(prog="loadgen serve", add_help=False, allow_abbrev=False)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--plan", action="store_true")
    ours, theirs = parser.parse_known_args(rest)
    plan = plan_engine(name, theirs, port=8000, say=_say)
    if ours.plan:
        print(shlex.join(plan.command))
        return ExitCode.OK
    log = ours.log or Path(tempfile.gettempdir()) / f"loadgen-{plan.script['engine']}-{os.getpid()}.log"
    _say(f"Its log: {log}")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with launch_engine(plan, log, _say) as engine:
            print(engine.base_url, flush=True)  # alone on stdout: a script can read it
            _say("Ctrl-C stops it.")
            code = engine.process.wait()
            _say(f"{plan.name} ended by itself (exit code {code}); see {log}.")
            return ExitCode.USAGE if code else ExitCode.OK
    except KeyboardInterrupt:
        _say(f"{plan.name} is stopped.")
        return ExitCode.OK
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
