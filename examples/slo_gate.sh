#!/bin/sh
# examples/slo_gate.sh [URL] [flags of loadgen run]
#
# A gate for CI: may this build serve 6 requests per second? Exit code 0: yes. 1: it misses the SLO. 3: the measurement
# itself is not valid (docs/cli.md), which is not the server's fault and worth a second try. Without a URL the embedded
# simulator stands in for the server.
set -eu
case "${1:-}" in http*) server="--base-url $1"; shift ;; *) server="--engine simulator" ;; esac
out=$(mktemp -d)/run

measure() {
  # shellcheck disable=SC2086  # two words on purpose
  loadgen run ${server%% *} "${server#* }" --request-rate 6 --duration 45s --dataset s2s --seed 7 \
    --slo "ttft_p90=500ms,tpot_p90=80ms" --fail-on slo --quiet --out "$out" "$@"
}

code=0
measure "$@" || code=$?
if [ "$code" -eq 3 ]; then
  echo "Not valid; once more." >&2
  rm -r "$out"
  code=0
  measure "$@" || code=$?
fi
case "$code" in 0) echo "gate: open" ;; 1) echo "gate: shut" ;; *) echo "gate: no answer (exit code $code)" ;; esac
exit "$code"
