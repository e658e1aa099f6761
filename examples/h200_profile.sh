#!/bin/sh
# Every module of Llama-2-7B, and of Llama-3.1-8B for its grouped KV heads, timed on one GPU, an H200, in four minutes:
#
#     examples/h200_profile.sh FOLDER
#
# First a self-test of every module against float32; if it breaks the GPU, the rest goes without our Triton kernels. The
# JSON of each model is written while it is measured, so that a run that is cut short keeps what it has, and says what it
# left out. Then `loadgen profile FOLDER/llama-2-7b.json --markdown profile.md --html profile.html` shows it anywhere.
set -u
out=${1:?Give a folder for the results}
python=${PYTHON:-python3}
mkdir -p "$out"

profile() { "$python" -m loadgen profile "$@" 2>>"$out/log.txt"; }

export COLUMNS=160
plain=
profile llama-2-7b --selftest >"$out/selftest.txt"
[ $? -le 1 ] || plain=--plain

profile llama-2-7b --batch 1,2,4,8,16,32,64,128,256 --seq 128,256,512,1024,2048,4096 --within 170s $plain \
  --json "$out/llama-2-7b.json" >"$out/llama-2-7b.txt" || echo "llama-2-7b: exit code $?" >>"$out/log.txt"
profile llama-3.1-8b --batch 1,8,32,128 --seq 512,1024,4096 --within 60s $plain \
  --json "$out/llama-3.1-8b.json" >"$out/llama-3.1-8b.txt" || echo "llama-3.1-8b: exit code $?" >>"$out/log.txt"
