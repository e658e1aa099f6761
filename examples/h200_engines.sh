#!/usr/bin/env bash
# Real engines on one H200, one part a call, none longer than nine minutes: Llama-2-7B's shape with random weights.
#
#   OUT=results examples/h200_engines.sh vllm | transformers | mii | llamacpp, each also with _more and _s16k,
#                                        transformers_s2l, or rehearsal
#
# Needs python3 with torch on a machine with the GPU; no network: what is missing there comes in .parcel/ (docs/engines.md
# says what and how it is packed). Every step has a hard limit, is told Ctrl-C when it is over, and what it has by then
# counts. After every step $OUT/PART.tar.xz is written anew: summaries, reports, the engine's log.
set -uo pipefail
cd "$(dirname "$0")/.."

PART=${1:?which part: vllm, transformers, mii or llamacpp, each also with _more and _s16k; transformers_s2l; rehearsal}
OUT=${OUT:-runs/h200}
PARCEL=${PARCEL:-.parcel}
W=${WORK:-/tmp/loadgen-h200}  # kept between calls for as long as the machine is
R=$W/$PART/results
DEADLINE=${SECONDS_MAX:-510}
PORT=${PORT:-8000}
SERVER=
mkdir -p "$OUT" "$R" "$W/models"
OUT=$(realpath "$OUT")
export PYTHONPATH=$PWD:$W/common:$W/$PART/site PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 COLUMNS=150 XDG_CACHE_HOME=$W/cache
GPU=h200:llama-2-7b

say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
left() { echo $((DEADLINE - SECONDS)); }

unpack() {  # wheels and archives of a folder into another
  mkdir -p "$2"
  for each in "$PARCEL/$1"/*.whl; do [ -e "$each" ] && python3 -m zipfile -e "$each" "$2"; done
  for each in "$PARCEL/$1"/*.tar.xz; do [ -e "$each" ] && { xz -dc -T0 "$each" | tar x -C "$2" & }; done
  wait
}

keep() {  # small things only; the records stay behind
  tar -C "$W/$PART" -cJf "$OUT/$PART.tar.xz.new" --exclude='*.arrow' --exclude='*.arrows' --exclude='*.parquet' --exclude='records' \
    --exclude='*.hlog' results && mv "$OUT/$PART.tar.xz.new" "$OUT/$PART.tar.xz"
}

finish() {  # the records too, in pieces of 15 MB: another version of loadgen may judge them anew
  stop
  keep
  tar -C "$W/$PART" -c results | xz -1 -T0 | split -b 15M -d - "$OUT/$PART-records.tar.xz."
  say "done: $(du -h "$OUT/$PART.tar.xz" | cut -f1) in $OUT/$PART.tar.xz"
}

start() {  # the engine through `loadgen serve`, in the background; gives up after the first number of seconds
  local limit=$1; shift
  say "loadgen serve $*"
  : > "$W/url"
  python3 -m loadgen serve "$@" --port "$PORT" --ready-timeout "${limit}s" --log "$R/engine-$PORT.log" > "$W/url" 2> "$R/serve-$PORT.txt" &
  SERVER=$!
  until [ -s "$W/url" ]; do
    if ! kill -0 "$SERVER" 2>/dev/null; then
      say "it did not start:"; tail -n 14 "$R/serve-$PORT.txt"; SERVER=; return 1
    fi
    sleep 0.5
  done
  URL=$(cat "$W/url")
  tail -n 3 "$R/serve-$PORT.txt"
}

stop() {
  [ -n "$SERVER" ] && { kill -TERM "$SERVER" 2>/dev/null; wait "$SERVER"; }
  SERVER=
}

step() {  # name, seconds at most, loadgen's arguments
  local name=$1 limit=$2 code; shift 2
  [ "$limit" -gt $(($(left) - 25)) ] && limit=$(($(left) - 25))
  if [ "$limit" -lt 25 ]; then say "$name: left out, no time"; return; fi
  say "$name (at most $limit s): loadgen $*"
  echo "loadgen $*" > "$R/$name.txt"
  timeout -s INT -k 15 "$limit" python3 -m loadgen "$@" --out "$R/$name" >> "$R/$name.txt" 2>&1 < /dev/null
  code=$?
  say "$name: exit code $code"; grep -vE '^\s*$' "$R/$name.txt" | sed -n 2,24p | cut -c1-150
  keep
}

weights() {  # the shape with random weights; memory is faster than disk, when there is enough of it
  local place=$W/models
  [ "$(df -k --output=avail /dev/shm | tail -1)" -gt 40000000 ] && place=/dev/shm/loadgen-h200
  MODEL=$place/llama-2-7b$1
  [ -d "$MODEL" ] && return
  mkdir -p "$place"
  if [ "$1" = -gguf ]; then
    python3 -m loadgen model llama-2-7b "$MODEL" --context 4096 --no-weights --gguf
  else
    python3 -m loadgen model llama-2-7b "$MODEL" --context 4096
  fi
}

target() {  # what every load at this server has in common
  common=(--base-url "$URL" --seed 1 --model "$1")
  [ -n "$GPU" ] && common+=(--gpu "$GPU")
}

sweeps() {  # rates of S2S, L2S, S2L; the same for every engine but for how far they go
  target "$1"; shift
  step sweep-s2s 90 sweep "${common[@]}" --dataset s2s --rates "$1" --duration 12s --drain 10s --warmup 2s
  step sweep-l2s 90 sweep "${common[@]}" --dataset l2s --rates "$2" --duration 12s --drain 12s --warmup 2s
  step sweep-s2l 130 sweep "${common[@]}" --dataset s2l --rates "$3" --duration 24s --drain 15s --warmup 8s
}

s16k() {  # rates, seconds of a load, of its warm-up: answers of 1,000 tokens, in loads of twice as long as they take
  step sweep-s16k $(($2 * 3 + 40)) sweep "${common[@]}" --dataset s16k --output-len 1000 --rates "$1" --duration "$2s" --drain 5s --warmup "$3s"
}

start_vllm() {
  unpack vllm "$W/$PART/site"; say "unpacked"
  [ -d "$W/models/shape" ] || python3 -m loadgen model llama-2-7b "$W/models/shape" --no-weights --context 4096
  export VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_USE_DEEP_GEMM=0
  start 200 vllm --served-model-name llama-2-7b --model "$W/models/shape" --dummy-weights --dtype bfloat16 --max-model-len 4096 --max-num-seqs 256 \
    --gpu-memory-utilization 0.9 --no-enable-prefix-caching --attention-backend FLASH_ATTN
}

part_vllm() {
  start_vllm || return 1
  sweeps llama-2-7b 16,64,128,256 8,16,32,64 4,8,16,32
  step batch-s2s 60 batch "${common[@]}" --dataset s2s --num-prompts 128 --batch-sizes 1,8,32,all --repeats 2
  step saturate-l2s 90 saturate "${common[@]}" --dataset l2s --budget 75s --slo ttft_p99=500ms,tpot_p99=50ms
  step sweep-s16k 60 sweep "${common[@]}" --dataset s16k --output-len 2000 --rates 2,6 --duration 8s --drain 30s --warmup 2s
}

part_vllm_more() {  # what the first call is too short for: the limit of short answers and of long ones, S-16k in loads longer than they are
  start_vllm || return 1
  target llama-2-7b
  step saturate-s2s 130 saturate "${common[@]}" --dataset s2s --budget 110s --slo ttft_p99=200ms,tpot_p99=20ms
  step saturate-s2l 220 saturate "${common[@]}" --dataset s2l --budget 190s
  step sweep-s16k 140 sweep "${common[@]}" --dataset s16k --output-len 2000 --rates 2,4 --duration 45s --drain 25s --warmup 20s
}

part_vllm_s16k() {
  start_vllm || return 1
  target llama-2-7b
  s16k 2,8,16 40 18
  step saturate-s2s 130 saturate "${common[@]}" --dataset s2s --budget 110s
}

start_transformers() {
  unpack transformers "$W/$PART/site"; weights ""; say "weights"
  start 150 transformers --model "$MODEL" --dtype bfloat16 --gpu-memory-utilization 0.8 --max-num-batched-tokens 4096
}

part_transformers() {
  start_transformers || return 1
  sweeps "$MODEL" 1,4,16,32 1,4,8,16 1
}

part_transformers_more() {  # its step takes 80 ms: a search and answers of 500 tokens need a call of their own
  start_transformers || return 1
  target "$MODEL"
  step saturate-s2s 140 saturate "${common[@]}" --dataset s2s --budget 120s
  step sweep-s2l 280 sweep "${common[@]}" --dataset s2l --rates 1 --duration 240s --drain 15s --warmup 100s
}

part_transformers_s2l() {  # what stands on both sides of the one rate of _more
  start_transformers || return 1
  target "$MODEL"
  step sweep-s2l 370 sweep "${common[@]}" --dataset s2l --rates 0.5,2 --duration 165s --drain 5s --warmup 75s
}

part_transformers_s16k() {
  start_transformers || return 1
  target "$MODEL"
  s16k 0.25,0.5 190 95
}

start_mii() {
  unpack mii "$W/$PART/site"; weights ""; say "weights"
  chmod +x "$W/$PART"/site/bin/* 2>/dev/null
  export PATH=$W/$PART/site/bin:$PATH TORCH_CUDA_ARCH_LIST=9.0 DS_ACCELERATOR=cuda MAX_JOBS=16 TORCH_EXTENSIONS_DIR=$W/extensions
  export CUDA_HOME=${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")}
  start 120 deepspeed_mii --model "$MODEL" --max-model-len 4096
}

part_mii() {
  start_mii || return 1
  sweeps "$MODEL" 4,16,64,128 4,16,32 4
  step batch-s2s 60 batch "${common[@]}" --dataset s2s --num-prompts 64 --batch-sizes 1,8,32,all --repeats 2
  step saturate-s2s 100 saturate "${common[@]}" --dataset s2s --budget 80s
}

part_mii_more() {  # long answers in loads of a minute; the search again
  start_mii || return 1
  target "$MODEL"
  step saturate-s2s 100 saturate "${common[@]}" --dataset s2s --budget 80s
  step sweep-s2l 170 sweep "${common[@]}" --dataset s2l --rates 2,4 --duration 60s --drain 15s --warmup 25s
}

part_mii_s16k() {
  start_mii || return 1
  target "$MODEL"
  s16k 1,2,4 75 38
  step saturate-l2s 100 saturate "${common[@]}" --dataset l2s --budget 80s
}

start_llamacpp() {  # .parcel/llamacpp/llama-server.tar.xz.00 …: the program, built elsewhere
  unpack llamacpp "$W/$PART/site"
  if [ ! -x "$W/$PART/llama-server" ] && ls "$PARCEL"/llamacpp/llama-server.tar.xz.* >/dev/null 2>&1; then
    cat "$PARCEL"/llamacpp/llama-server.tar.xz.* | xz -dc | tar x -C "$W/$PART"
  fi
  [ -x "$W/$PART/llama-server" ] || { say "there is no llama-server in $PARCEL/llamacpp"; return 1; }
  local cuda
  cuda=$(python3 -c 'import nvidia, pathlib, torch  # torch brings libgomp
places = [*nvidia.__path__, pathlib.Path(torch.__file__).parent]
print(":".join({str(p.parent) for r in places for p in pathlib.Path(r).rglob("lib*.so.*")}))' 2>/dev/null)
  export PATH=$W/$PART:$PATH LD_LIBRARY_PATH=$cuda:${LD_LIBRARY_PATH:-}
  weights -gguf; say "weights"
  start 120 llama-server --served-model-name llama-2-7b --model "$MODEL/model.gguf" --max-model-len 2048 --max-num-seqs 64 --no-enable-prefix-caching -ub 2048 -t 8
}

part_llamacpp() {
  start_llamacpp || return 1
  sweeps llama-2-7b 4,16,32,64 4,8,16 2,4
  step batch-s2s 60 batch "${common[@]}" --dataset s2s --num-prompts 128 --batch-sizes 1,8,32,all --repeats 2
  step saturate-s2s 120 saturate "${common[@]}" --dataset s2s --budget 100s
}

part_llamacpp_more() {  # batches that fit their time, long answers in a load longer than they are, the search again
  start_llamacpp || return 1
  target llama-2-7b
  step batch-s2s 75 batch "${common[@]}" --dataset s2s --num-prompts 64 --batch-sizes 1,8,32,all --repeats 2
  step saturate-s2s 100 saturate "${common[@]}" --dataset s2s --budget 80s
  step sweep-s2l 140 sweep "${common[@]}" --dataset s2l --rates 2 --duration 110s --drain 15s --warmup 50s
}

part_llamacpp_s16k() {
  start_llamacpp || return 1
  target llama-2-7b
  s16k 0.5,1,2 75 38
  step saturate-s2l 100 saturate "${common[@]}" --dataset s2l --budget 80s
}

part_rehearsal() {  # the same steps, a small model, no GPU: does everything hold together?
  GPU=
  start 60 llama.cpp --served-model-name tiny || return 1
  sweeps tiny 2,4 1 0.5
  s16k 0.5,1 25 12
  step batch-s2s 60 batch "${common[@]}" --dataset s2s --num-prompts 8 --batch-sizes 1,all --repeats 2
  step saturate-s2s 60 saturate "${common[@]}" --dataset s2s --budget 30s
}

trap finish EXIT
trap 'exit 130' INT TERM
unpack common "$W/common"
ulimit -n 65536 2>/dev/null
nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader 2>/dev/null | tee "$R/gpu.txt"
python3 -c 'import platform, sys; print(sys.version.split()[0], platform.platform())' > "$R/machine.txt"
declare -F "part_$PART" > /dev/null || { echo "there is no part '$PART'" >&2; exit 2; }
"part_$PART"
