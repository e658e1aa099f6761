"""`python -m loadgen.simulator`: listen, say where on one line of stdout, serve until told to stop.

Apart from the server because this is about a process: signals, stdin, exit codes, garbage collection. It must leave no
orphan and print nothing else on stdout.
"""

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import sys
import threading

from loadgen.errors import BadInputError, LoadgenError
from loadgen.simulator.deployment import find_card, find_model
from loadgen.simulator.doorway import let_in, narrow_listener
from loadgen.simulator.front_end import FrontEnd
from loadgen.simulator.options import Options, build_engine, parse_options
from loadgen.simulator.server import Simulator
from loadgen.simulator.styles import STYLES
from loadgen.units import NS_PER_MS

_BACKLOG = 4096


def main(arguments: list[str] | None = None) -> int:
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(options))
    except LoadgenError as error:
        sys.stderr.write(f"{error} {error.hint}\n")
        return int(error.exit_code)
    return 0


async def _serve(options: Options) -> None:
    engine, max_num_seqs, max_model_len = build_engine(options)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    _allow_many_connections()
    with contextlib.ExitStack() as stack:
        log = None
        if options.log is not None:
            try:
                log = stack.enter_context(options.log.open("w", encoding="utf-8"))
            except OSError as error:
                raise BadInputError(f"The log {options.log} cannot be written: {error.strerror}.") from error
        simulator = Simulator(
            engine,
            options.models,
            max_model_len,
            options.seed,
            options.eos_probability,
            options.api_key,
            find_model(options.model)[0].vocab,
            log,
            FrontEnd(round(options.http_ms * NS_PER_MS)),
            0 if options.is_fixed and options.max_num_seqs is None else max_num_seqs,
            STYLES[options.style or "vllm"],
            None if options.style else "loadgen",
            options.stream_interval,
            options.sse_ping_interval,
        )
        try:
            if options.connect_ms:
                listener = stack.enter_context(narrow_listener(options.host, options.port))
                doorway = loop.create_task(let_in(listener, simulator.new_connection, options.connect_ms / 1000))
                stack.callback(doorway.cancel)
            else:
                server = await loop.create_server(
                    simulator.new_connection, options.host, options.port, backlog=_BACKLOG, reuse_address=True
                )
                stack.callback(server.close)
                listener = server.sockets[0]
        except OSError as error:
            await simulator.close()
            sentence = f"Cannot listen on {options.host}:{options.port}: {os.strerror(error.errno or 0).lower()}."
            raise BadInputError(sentence, "Choose another --port; 0 takes a free one.") from error
        ready = {
            "ready": _url(options.host, listener.getsockname()[1]),
            "model": options.models[0],
            "gpu": None if options.is_fixed else find_card(options.gpu).name,
            "max_num_seqs": max_num_seqs,
        }
        gc.collect()
        gc.freeze()  # what exists now stays: no collection need look at it again
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        if options.exit_with_stdin:
            threading.Thread(target=_await_end_of_stdin, args=(loop, stopped), daemon=True).start()
        await stopped.wait()
        await simulator.close()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop ended first
        loop.call_soon_threadsafe(stopped.set)


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a name to look up
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


if __name__ == "__main__":
    sys.exit(main())
