"""llama.cpp's own HTTP server out of the wheel xllamacpp, in the foreground until it is told to stop. See llama_cpp.py."""

import argparse
import os
import signal
import sys
import threading

sys.path.pop(0)  # this folder holds files named like other people's packages

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--alias", default="model")
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--slots", type=int, default=4)
parser.add_argument("--context", type=int, default=4096, help="of all slots together")
parser.add_argument("--batch", type=int, default=2048)
parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="half of the cores")
parser.add_argument("--cache-prompt", action="store_true", help="reuse the KV cache of a prompt seen before")
options = parser.parse_args()

import xllamacpp  # noqa: E402  (a wrong option is said before 30 MB are loaded)

params = xllamacpp.CommonParams()
params.model.path = options.model
params.model_alias = {options.alias}
params.hostnames = [options.host]
params.port = options.port
params.n_parallel = options.slots
params.n_ctx = options.context
params.n_batch = options.batch
params.kv_unified = True  # a step is one pass over the weights, whichever slots are busy
params.cache_prompt = options.cache_prompt
params.cache_ram_mib = 8192 if options.cache_prompt else 0
params.endpoint_metrics = True
params.endpoint_slots = True
params.cpuparams.n_threads = options.threads
params.cpuparams_batch.n_threads = options.threads
stopped = threading.Event()
for kind in (signal.SIGTERM, signal.SIGINT):
    signal.signal(kind, lambda *_: stopped.set())
try:
    server = xllamacpp.Server(params)
except Exception as error:  # its own words are a C++ exception's
    sys.exit(f"xllamacpp: {error}")
print(f"listening at {server.listening_address}", flush=True)
stopped.wait()
os._exit(0)  # the wheel's own end waits for streams that nobody reads
