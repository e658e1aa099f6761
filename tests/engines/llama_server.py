"""llama.cpp's HTTP server for the test, as plain as can be: MODEL.gguf on a free port, its address on one line."""

import os
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"tiny"}
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_parallel = 2
params.n_ctx = 1024
params.cache_ram_mib = 0
params.endpoint_metrics = True
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
sys.stdout.write(f"{server.listening_address}\n")
sys.stdout.flush()
sys.stdin.read()  # until the test lets go
os._exit(0)
