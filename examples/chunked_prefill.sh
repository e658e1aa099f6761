#!/bin/sh
# examples/chunked_prefill.sh [flags of loadgen run]
#
# What does chunked prefill buy? The same long prompts at the same moments against two simulators that differ in one
# option: one computes whole prompts before it goes on decoding, the other mixes pieces of them into every step. The
# first keeps running answers waiting, which shows in the highest gaps between tokens.
set -eu
out=$(mktemp -d)
for batching in continuous chunked; do
  code=0
  loadgen run --engine "simulator --batching $batching" --dataset l2s --request-rate 1.5 --duration 40s --seed 3 \
    --quiet --out "$out/$batching" "$@" >"$out/$batching.txt" || code=$?
  [ "$code" -eq 0 ] || [ "$code" -eq 3 ] || exit "$code"  # 3: too few samples for some word; the figures are there
done
python3 - "$out" <<'PYTHON'
import json, sys
print(f"{'batching':<12}{'TTFT p50':>12}{'ITL p50':>12}{'ITL p99':>12}")
for batching in ("continuous", "chunked"):
    with open(f"{sys.argv[1]}/{batching}/summary.json") as file:
        point = json.load(file)["points"][0]
    figures = (point["median_ttft_ms"], point["median_itl_ms"], point["p99_itl_ms"])
    print(f"{batching:<12}" + "".join(f"{each:>9.1f} ms" for each in figures))
PYTHON
