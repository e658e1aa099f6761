"""A few records of every format, written by hand after the formats' descriptions: name → file name, bytes."""

import gzip
import json

GOR = "\n🐵🙈🙉\n".encode()


def _http(*lines: str, body: bytes) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode() + body


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


_ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello there"}]}).encode()
_GZIPPED = gzip.compress(_ASK, mtime=0)
_CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_ASK), _ASK)
_USAGE = b'{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}'
_SSE = b'data: {"choices":[]}\n\ndata: {"usage":{"prompt_tokens":30,"completion_tokens":7}}\n\ndata: [DONE]\n\n'

_PARTS = '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'
_POST = ("POST /v1/chat/completions HTTP/1.1", "Host: x", "Authorization: Bearer secret")

SOURCES: dict[str, tuple[str, bytes]] = {
    "loadgen": (
        "own.jsonl",
        lines(
            {"loadgen_trace": 1, "zero": "2026-11-23T12:00:00.5+00:00", "block_tokens": 16, "tool": "loadgen 0.1.0"},
            {
                "arrival_ns": 1_000,
                "duration_ns": 500,
                "ttft_ns": 9,
                "input_tokens": 20,
                "output_tokens": 4,
                "max_tokens": 9,
                "status": 200,
                "stream": True,
                "model": "m",
                "session": "s",
                "blocks": [70, 80],
            },
            {
                "arrival_ns": 0,
                "duration_ns": 900,
                "input_tokens": 17,
                "status": 200,
                "session": "s",
                "blocks": [70, 90],
            },
            {"arrival_ns": 2_000, "input_tokens": None, "output_tokens": None, "status": 499, "blocks": []},
        ),
    ),
    "azure-2023": (
        "a.csv",
        (
            b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
            b"2023-11-16 18:15:50.9951690,396,109"
        ),
    ),
    "azure-2024": (
        "a.csv",
        (
            b"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n"
            b"2024-05-12 00:00:00+00:00,7,8\n"
        ),
    ),
    "azure-2025": (
        "a.csv",
        (
            b"TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15T12:00:00.269Z,0,770,491\n"
            b"2024-10-15T12:00:05.819Z,1,949,126\n"
        ),
    ),
    "mooncake": (
        "m.jsonl",
        lines(
            {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]},
            {"timestamp": 0, "input_length": 1200, "output_length": 5, "hash_ids": [0, 2, 3]},
            {"timestamp": 3000, "input_length": 600, "output_length": 1, "hash_ids": [0, 1]},
        ),
    ),
    "bailian": (
        "q.jsonl",
        lines(
            {
                "chat_id": 159,
                "parent_chat_id": -1,
                "timestamp": 61.114,
                "input_length": 40,
                "output_length": 132,
                "type": "text",
                "turn": 1,
                "hash_ids": [10, 11, 12],
            },
            {
                "chat_id": 160,
                "parent_chat_id": 159,
                "timestamp": 70.5,
                "input_length": 60,
                "output_length": 1,
                "type": "text",
                "turn": 2,
                "hash_ids": [10, 11, 13, 10],
            },
            {
                "chat_id": 161,
                "parent_chat_id": 7,
                "timestamp": 70.5,
                "input_length": 30,
                "output_length": 1,
                "type": "file",
                "turn": 3,
                "hash_ids": [11, 12],
            },
        ),
    ),
    "burstgpt-1": (
        "b.csv",
        (
            b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            b"5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n"
            b"118,GPT-4,417,0,417,API log\n"
        ),
    ),
    "burstgpt-3": (
        "b.csv",
        (
            b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            b"19440110.0,1722ac82-0a46,43,GPT-4,906,446,1352,Conversation log\n"
            b"19440111.5,,2,ChatGPT,10,5,15,API log\n19440200.25,1722ac82-0a46,1,GPT-4,1400,6,1406,Conversation log\n"
        ),
    ),
    "lengths": (
        "l.csv",
        b"num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n74,918,992,0.08\n290,905,1195,0.3\n",
    ),
    "weka": (
        "w.json",
        json.dumps(
            {
                "id": "t",
                "models": ["a"],
                "block_size": 64,
                "hash_id_scope": "local",
                "requests": [
                    {"t": 0.0, "type": "n", "model": "a", "in": 130, "out": 5, "hash_ids": [1, 2], "api_time": 2.5},
                    {
                        "t": 20.0,
                        "type": "subagent",
                        "agent_id": "x",
                        "duration_ms": 15500,
                        "status": "completed",
                        "requests": [
                            {"t": 0.0, "type": "n", "model": "b", "in": 70, "out": 3, "hash_ids": [5], "api_time": 1.0},
                            {
                                "t": 9.0,
                                "type": "n",
                                "model": "b",
                                "in": 140,
                                "out": 0,
                                "hash_ids": [5, 6],
                                "api_time": 4.0,
                            },
                        ],
                    },
                    {
                        "t": 6.0,
                        "type": "subagent",
                        "status": "async_launched",
                        "duration_ms": None,
                        "requests": [{"t": 0.0, "type": "n", "model": "b", "in": 64, "out": 3, "hash_ids": [9]}],
                    },
                    {
                        "t": 24.0,
                        "type": "s",
                        "model": "a",
                        "in": 200,
                        "out": 7,
                        "hash_ids": [1, 2, 3],
                        "api_time": 1.0,
                        "think_time": 4.0,
                    },
                ],
            }
        ).encode(),
    ),
    "tracelab": (
        "t.jsonl",
        lines(
            {
                "provider": "claude",
                "session_id": "s",
                "round_index": 0,
                "model": "m",
                "input_tokens_total": 100,
                "prefix_tokens": 50,
                "newly_append_tokens": 50,
                "output_tokens": 9,
                "timing_events": [
                    {"event_type": "user_message", "timestamp": "2026-06-01T05:40:20.151Z"},
                    {"event_type": "text", "timestamp": "2026-06-01T05:40:29.887Z"},
                ],
            },
            {
                "provider": "claude",
                "session_id": "s",
                "round_index": 1,
                "model": "m",
                "input_tokens_total": 160,
                "prefix_tokens": 90,
                "newly_append_tokens": 70,
                "output_tokens": 9,
                "timing_events": [
                    {"event_type": "tool_result", "timestamp": "2026-06-01T05:40:31.696Z"},
                    {"event_type": "tool_result", "timestamp": "2026-06-01T05:40:50.938Z"},
                    {"event_type": "text", "timestamp": "2026-06-01T05:41:04.609Z"},
                ],
            },
        ),
    ),
    "otel": (
        "o.json",
        json.dumps(
            {
                "resourceSpans": [
                    {
                        "resource": {},
                        "scopeSpans": [
                            {
                                "spans": [
                                    {
                                        "traceId": "t",
                                        "spanId": "agent",
                                        "startTimeUnixNano": "1760000000000000001",
                                        "endTimeUnixNano": "1760000009000000000",
                                        "attributes": [
                                            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                                            {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
                                        ],
                                    },
                                    {
                                        "traceId": "t",
                                        "spanId": "call",
                                        "parentSpanId": "agent",
                                        "startTimeUnixNano": "1760000001000000002",
                                        "endTimeUnixNano": "1760000002000000002",
                                        "status": {"code": 2},
                                        "attributes": [
                                            {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
                                            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "31"}},
                                            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 4}},
                                            {"key": "gen_ai.conversation.id", "value": {"stringValue": "c"}},
                                            {
                                                "key": "gen_ai.input.messages",
                                                "value": {"stringValue": _PARTS},
                                            },
                                        ],
                                    },
                                    {
                                        "traceId": "t",
                                        "spanId": "tool",
                                        "startTimeUnixNano": "1760000003000000000",
                                        "endTimeUnixNano": "1760000003000000001",
                                        "attributes": [
                                            {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}}
                                        ],
                                    },
                                ]
                            }
                        ],
                    }
                ]
            }
        ).encode(),
    ),
    "litellm": (
        "l.jsonl",
        (
            b'{"id":"1","call_type":"acompletion","startTime":1763000000.1234567,"endTime":1763000001.5,"prompt_tokens":11,'
            b'"completion_tokens":2,"model":"m","status":"success","cache_hit":null,"trace_id":"t"}\n'
            b'{"id":"2","call_type":"acompletion","startTime":1763000002,"endTime":1763000002,"prompt_tokens":11,'
            b'"completion_tokens":2,"model":"m","status":"success","cache_hit":"True"}\n'
            b'{"id":"3","call_type":"aembedding","startTime":1763000003,"endTime":1763000004,"prompt_tokens":9,'
            b'"completion_tokens":0,"model":"e","status":"success"}\n'
            b""
            b'{"id":"4","call_type":"acompletion","startTime":"2025-11-13T02:13:25.000001Z","endTime":null,"prompt_tokens":8,'
            b'"completion_tokens":0,"model":"m","status":"failure","cache_hit":false}\n'
        ),
    ),
    "langfuse": (
        "l.json",
        json.dumps(
            [
                {
                    "id": "a",
                    "trace_id": "t",
                    "type": "GENERATION",
                    "start_time": "2024-05-29 13:46:19.963000",
                    "end_time": "2024-05-29 13:46:21.000000",
                    "session_id": "s",
                    "provided_model_name": "m",
                    "usage_details": {"input": 10, "input_cached_tokens": 90, "output": 7, "total": 107},
                },
                {"id": "b", "trace_id": "t", "type": "SPAN", "start_time": "2024-05-29 13:46:19.000000"},
            ]
        ).encode(),
    ),
    "helicone": (
        "h.jsonl",
        lines(
            {
                "request_created_at": "2025-01-02T03:04:05.678+00:00",
                "response_status": 200,
                "prompt_tokens": 5,
                "prompt_cache_read_tokens": 100,
                "completion_tokens": 6.0,
                "provider": "ANTHROPIC",
                "delay_ms": 1500,
                "request_model": "m",
                "request_properties": {"Helicone-Session-Id": "s"},
                "request_body": {"messages": [{"role": "user", "content": "hi"}]},
            },
            {"request_created_at": "2025-01-02T03:04:07Z", "response_status": 429, "prompt_tokens": None},
        ),
    ),
    "nginx": (
        "access.log",
        (
            b'10.0.0.1 - - [16/Nov/2023:18:15:46 +0100] "POST /v1/chat/completions HTTP/1.1" '
            b'200 512 "-" "curl/8" urt=0.900 rt=1.250 rl=800\n'
            b'10.0.0.1 - - [16/Nov/2023:18:15:47 +0100] "GET /health HTTP/1.1" 200 2 "-" "kube"\n'
            b'10.0.0.1 - - [16/Nov/2023:18:15:48 +0100] "POST /v1/completions?x=1 HTTP/1.1" 499 0 "-" "python"\n'
            b"garbage\n"
        ),
    ),
    "envoy": (
        "envoy.log",
        (
            b'[2016-04-15T20:17:00.310Z] "POST /v1/chat/completions HTTP/2" 200 - 154 0 226 100 '
            b'"10.0.35.28" "nsq" "id" "h" "10:80"\n'
            b'[2016-04-15T20:17:01.010Z] "GET /x HTTP/1.1" 404 NR 0 0 1 - "-" "-" "id" "h" "-"\n'
        ),
    ),
    "envoy-json": (
        "envoy.jsonl",
        lines(
            {
                "start_time": "2024-01-01T00:00:00.500Z",
                "method": "POST",
                "path": "/v1/chat/completions",
                "response_code": 200,
                "duration": 1200,
                "bytes_received": 400,
                "gen_ai.usage.input_tokens": 33,
                "gen_ai.usage.output_tokens": "8",
                "gen_ai.request.model": "m",
            }
        ),
    ),
    "goreplay": (
        "x.gor",
        b"1 0123456789abcdef01234567 1700000000000000005 0\n"
        + _http(*_POST, f"Content-Length: {len(_ASK)}", body=_ASK)
        + GOR
        + b"1 1123456789abcdef01234567 1700000000500000000 0\n"
        + _http(*_POST, "Content-Encoding: gzip", body=_GZIPPED)
        + GOR
        + b"1 2123456789abcdef01234567 1700000000200000000 0\n"
        + _http(*_POST, "Transfer-Encoding: chunked", body=_CHUNKED)
        + GOR
        + b"2 0123456789abcdef01234567 1700000001000000005 1000000000\n"
        + _http("HTTP/1.1 200 OK", "Content-Type: application/json", body=_USAGE)
        + GOR
        + b"2 1123456789abcdef01234567 1700000001000000005 700\n"
        + _http("HTTP/1.1 200 OK", "Content-Type: text/event-stream", body=_SSE)
        + GOR,
    ),
    "vllm-log": (
        "vllm.log",
        (
            b"INFO 12-31 23:59:58 [logger.py:43] Received request cmpl-1: prompt: 'How to\\nmake pizza', "
            b"params: SamplingParams(n=1, "
            b"max_tokens=16), prompt_token_ids: [1, 2, 3, 4], lora_request: None.\n"
            b"INFO 12-31 23:59:58 [engine.py:280] Added request cmpl-1.\n"
            b"(APIServer pid=1) INFO 01-01 00:00:01 [logger.py:49] Received request chatcmpl-2: params: "
            b"SamplingParams(n=1).\n"
            b"INFO 01-01 00:00:02 [logger.py:60] Generated response cmpl-1: output: 'x', "
            b"output_token_ids: [5, 6], finish_reason: stop\n"
        ),
    ),
    "sharegpt": (
        "s.json",
        json.dumps(
            [
                {
                    "id": "c1",
                    "timestamp": 1700000000,
                    "conversations": [
                        {"from": "human", "value": "a"},
                        {"from": "gpt", "value": "b"},
                        {"from": "human", "value": "c", "timestamp": "2023-11-14T22:14:20.5Z"},
                        {"from": "gpt", "value": "d"},
                        {"from": "human", "value": "e"},
                    ],
                }
            ]
        ).encode(),
    ),
}

SERVEGEN: dict[str, bytes] = {
    "chunk-0-trace.csv": b"0,2.0,1.0,Gamma,1.0,0.5\n600,0,0,,0,0\n1200,4.0,0.5,Weibull,2.0,0.3\n",
    "chunk-0-dataset.json": json.dumps(
        {"0": {"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{5: 1.0}"}}
    ).encode(),
    "chunk-3-trace.csv": b"0,1.0,1.0,,0,0\n600,1.0,1.0,Gamma,4.0,0.25\n",
    "chunk-3-dataset.json": json.dumps(
        {
            "0": {"text_tokens": "{1: 1.0}", "image_tokens": "{100: 1.0}", "output_tokens": "{7: 1.0}"},
            "900": {"text_tokens": "{}", "image_tokens": "{}", "output_tokens": "{}"},
        }
    ).encode(),
}
