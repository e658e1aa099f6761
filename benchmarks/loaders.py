"""How long the loaders of traces take: a million rows of every format, made here; CPU seconds, each in a new process.

The rows are what the formats' own files look like, with times that are all different (a day's seconds, to the µs) and,
for Mooncake and Qwen-Bailian, 24 million block ids. Exit code 1 when one takes longer than the bar.

    python benchmarks/loaders.py [FORMAT …] [--rows 1000000] [--seconds 5]
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

BEGIN = datetime(2024, 5, 10, tzinfo=UTC)
BLOCKS_MAX = 48
LOAD = """
import resource, sys, time
from pathlib import Path
from loadgen.trace.load import load_trace
began = time.process_time()
trace = load_trace(Path(sys.argv[1]), epoch=0 if sys.argv[1].endswith("vllm") else None)
mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(len(trace), time.process_time() - began, mib, trace.survey.format, sep="\\t")
"""
MOONCAKE = '{"timestamp": %d, "input_length": %d, "output_length": %d, "hash_ids": %s}\n'
SPAN = (
    '{"trace_id":"t%d","span_id":"s%d","parent_span_id":null,"name":"chat","start_time":"%sZ","end_time":"%sZ",'
    '"attributes":{"gen_ai.operation.name":"chat","gen_ai.request.model":"m","gen_ai.usage.input_tokens":%d,'
    '"gen_ai.usage.output_tokens":%d,"gen_ai.conversation.id":"c%d"}}\n'
)
PAIRED = (
    '{"traceId":"t%d","spanId":"s%d","parentSpanId":"","name":"chat","kind":3,"startTimeUnixNano":"%d",'
    '"endTimeUnixNano":"%d","attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},'
    '{"key":"gen_ai.request.model","value":{"stringValue":"m"}},{"key":"gen_ai.usage.input_tokens","value":'
    '{"intValue":"%d"}},{"key":"gen_ai.usage.output_tokens","value":{"intValue":"%d"}},'
    '{"key":"gen_ai.conversation.id","value":{"stringValue":"c%d"}}],"status":{}}'
)
NEST = '{"resourceSpans":[{"resource":{"attributes":[]},"scopeSpans":[{"scope":{"name":"x"},"spans":[%s]}]}]}\n'
NESTED = 100  # spans a line, as a collector batches them
LITELLM = (
    '{"id":"chatcmpl-%d","call_type":"acompletion","cache_hit":"False","startTime":"%sZ","endTime":"%sZ",'
    '"model":"gpt-4o","prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"session_id":"s-%d",'
    '"status":"success","spend":0.0123,"api_key":"hash","user":"u","messages":"{}"}\n'
)
LANGFUSE = (
    '{"id":"g-%d","trace_id":"t-%d","type":"GENERATION","start_time":"%sZ","end_time":"%sZ","level":"DEFAULT",'
    '"provided_model_name":"gpt-4o","usage_details":{"input":%d,"output":%d,"total":%d}}\n'
)
HELICONE = (
    '{"request_id":"r-%d","request_created_at":"%sZ","prompt_tokens":%d,"completion_tokens":%d,"delay_ms":1234,'
    '"response_status":200,"request_model":"gpt-4o","request_properties":{"Helicone-Session-Id":"s-%d"}}\n'
)
ROUND = (
    '{"session_id":"s%d","round_index":%d,"input_tokens_total":%d,"prefix_tokens":%d,"output_tokens":%d,"model":"m",'
    '"timing_events":[{"event_type":"user_message","timestamp":"%sZ"},{"event_type":"assistant","timestamp":"%sZ"}]}\n'
)
OWN = (
    '{"arrival_ns":%d,"duration_ns":1000000,"ttft_ns":1000,"input_tokens":%d,"output_tokens":%d,"max_tokens":100,'
    '"status":200,"stream":true,"model":"m","session":"s%d"}\n'
)
CHAT = '{"id":"c%d","timestamp":"%sZ","conversations":[{"from":"human","value":"hello, who is there"}]}\n'
ENVOY = (
    '[%sZ] "POST /v1/chat/completions HTTP/1.1" 200 - via_upstream - "-" 2048 5123 1234 1200 "-" "openai/1.0" "id" '
    '"host" "1.2.3.4:80"\n'
)
NGINX = '10.0.0.1 - - [%s +0000] "POST /v1/chat/completions HTTP/1.1" 200 5123 "-" "openai/1.0" rt=1.234 rl=2048\n'
VLLM = (
    "INFO %s [logger.py:43] Received request cmpl-%d: prompt: None, params: SamplingParams(n=1, temperature=1.0), "
    "prompt_token_ids: [1, 2, 3], lora_request: None.\n"
)
GOREPLAY = (
    "1 %024x %d 0\nPOST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n"
    '{"model":"m","messages":[{"role":"user","content":"hello there"}]}\n🐵🙈🙉\n'
)


class Made:
    """The columns that all files are written from; row k of each is one request."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(0)
        self.us = np.sort(rng.integers(0, 86_400_000_000, rows)).tolist()
        self.inputs = rng.integers(1, 12_000, rows).tolist()
        self.outputs = rng.integers(1, 900, rows).tolist()
        self.blocks = rng.integers(1, BLOCKS_MAX, rows).tolist()

    def times(self) -> Iterator[datetime]:
        return (BEGIN + timedelta(microseconds=us) for us in self.us)

    def rows(self) -> Iterator[tuple[int, str, int, int]]:
        """(k, ISO time without a zone, prompt, answer)."""
        times = (at.strftime("%Y-%m-%dT%H:%M:%S.%f") for at in self.times())
        yield from zip(range(len(self.us)), times, self.inputs, self.outputs, strict=False)


def _mooncake(made: Made) -> Iterator[str]:
    known = 0
    for k, (us, n, out) in enumerate(zip(made.us, made.blocks, made.outputs, strict=True)):
        fresh = n - (k > 0)
        ids = [*([0] if k else []), *range(known, known + fresh)]
        known += fresh
        yield MOONCAKE % (us // 1000, 512 * n - 100, out, ids)


def _bailian(made: Made) -> Iterator[str]:
    for k, (us, n, out) in enumerate(zip(made.us, made.blocks, made.outputs, strict=True)):
        ids = [0, *range(BLOCKS_MAX * k + 1, BLOCKS_MAX * k + n)]
        parent = k - 7 if k % 3 == 0 and k > 6 else -1
        yield (
            f'{{"chat_id": {k}, "parent_chat_id": {parent}, "timestamp": {us / 1e6:.3f}, "input_length": {16 * n - 3}, '
            f'"output_length": {out}, "type": "text", "turn": 1, "hash_ids": {ids}}}\n'
        )


def _otlp(made: Made) -> Iterator[str]:
    batch = []
    for k, (us, a, b) in enumerate(zip(made.us, made.inputs, made.outputs, strict=True)):
        ns = 10**18 + 1000 * us
        batch.append(PAIRED % (k, k, ns, ns + 10**9, a, b, k // 5))
        if len(batch) == NESTED or k + 1 == len(made.us):
            yield NEST % ",".join(batch)
            batch = []


# file name → its head, its lines
FORMATS: dict[str, tuple[str, Callable[[Made], Iterator[str]]]] = {
    "azure.csv": (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n",
        lambda made: (f"{at.replace('T', ' ')}+00:00,{a},{b}\n" for _, at, a, b in made.rows()),
    ),
    "mooncake": ("", _mooncake),
    "bailian": ("", _bailian),
    "burstgpt.csv": (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n",
        lambda made: (
            f"{us / 1e6},s{k // 4},3.25,GPT-4,{a},{b},{a + b},API log\n"
            for k, (us, a, b) in enumerate(zip(made.us, made.inputs, made.outputs, strict=True))
        ),
    ),
    "lengths.csv": (
        "num_prefill_tokens,num_decode_tokens\n",
        lambda made: (f"{a},{b}\n" for a, b in zip(made.inputs, made.outputs, strict=True)),
    ),
    "own": (
        '{"loadgen_trace": 1, "block_tokens": 16}\n',
        lambda made: (OWN % (1000 * made.us[k], a, b, k // 5) for k, _, a, b in made.rows()),
    ),
    "litellm": ("", lambda made: (LITELLM % (k, at, at, a, b, a + b, k // 5) for k, at, a, b in made.rows())),
    "langfuse": ("", lambda made: (LANGFUSE % (k, k // 5, at, at, a, b, a + b) for k, at, a, b in made.rows())),
    "helicone": ("", lambda made: (HELICONE % (k, at, a, b, k // 5) for k, at, a, b in made.rows())),
    "otel": ("", lambda made: (SPAN % (k, k, at, at, a, b, k // 5) for k, at, a, b in made.rows())),
    "otlp": ("", _otlp),
    "tracelab": (
        "",
        lambda made: (ROUND % (k // 8, k % 8, a, min(a, k % 8 * 300), b, at, at) for k, at, a, b in made.rows()),
    ),
    "sharegpt": ("", lambda made: (CHAT % (k, at) for k, at, _, _ in made.rows())),
    "envoy": ("", lambda made: (ENVOY % at for _, at, _, _ in made.rows())),
    "nginx": ("", lambda made: (NGINX % at.strftime("%d/%b/%Y:%H:%M:%S") for at in made.times())),
    "vllm": ("", lambda made: (VLLM % (at.strftime("%m-%d %H:%M:%S"), k) for k, at in enumerate(made.times()))),
    "goreplay": (
        "",
        lambda made: (GOREPLAY % (k, 10**18 + 1000 * us) for k, us in enumerate(made.us)),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"all when none is named: {', '.join(FORMATS)}")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="the bar for each")
    options = parser.parse_args()
    made, missed = Made(options.rows), []
    print("| format | rows | CPU s | peak MiB | file MB |\n|---|---|---|---|---|", flush=True)
    for name in options.formats or FORMATS:
        head, lines = FORMATS[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            with path.open("w") as file:
                file.write(head)
                file.writelines(lines(made))
            told = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True)
            rows, seconds, mib, title = told.stdout.strip().split("\t")
            size = path.stat().st_size / 1e6
        print(f"| {title} | {int(rows):,} | {float(seconds):.1f} | {float(mib):,.0f} | {size:,.0f} |", flush=True)
        if float(seconds) > options.seconds:
            missed.append(title)
    print(f"MISSED: {', '.join(missed)}" if missed else "Every bar is met.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
