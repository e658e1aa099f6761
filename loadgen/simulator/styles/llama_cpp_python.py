"""llama_cpp.server of llama-cpp-python 0.3.36, as recorded: no usage in a stream, and pings between the events."""

from loadgen.simulator.styles.style import Error, Spelling, Style

_CHAT = (
    b'{"id": %(id)b, "model": %(model)b, "created": %(created)d, "object": "chat.completion.chunk", "choices": '
    b'[{"index": %(index)d, "delta": '
)
_TEXT = b'{"id": %(id)b, "object": "text_completion", "created": %(created)d, "model": %(model)b, "choices": [{"text": '
_ERROR = b'{"error":{"message":%(message)b,"type":"invalid_request_error","param":%(param)b,"code":null}}'
_FAULT = b'{"error":{"message":%(message)b,"type":"internal_server_error","param":null,"code":null}}'
_WHOLE = b',"created":%(created)d,"model":%(model)b,"choices":[%(choices)b]%(usage)b}'

STYLE = Style(
    name="llama-cpp-python",
    owner="me",
    chat=Spelling(
        id_prefix=b"chatcmpl-",
        role=_CHAT + b'{"role": "assistant"}, "logprobs": null, "finish_reason": null}]}',
        token=_CHAT + b'{"content": "%(text)b"}, "logprobs": null, "finish_reason": null}]}',
        last=_CHAT + b'{}, "logprobs": null, "finish_reason": "%(finish)b"}]}',
        usage_rule="never",
        own_finish=True,
        whole=b'{"id":%(id)b,"object":"chat.completion"' + _WHOLE,
        choice=b'{"index":%(index)d,"message":{"content":"%(text)b","role":"assistant"},"logprobs":null,'
        b'"finish_reason":"%(finish)b"}',
    ),
    completions=Spelling(
        id_prefix=b"cmpl-",
        token=_TEXT + b'"%(text)b", "index": %(index)d, "logprobs": null, "finish_reason": null}]}',
        last=_TEXT + b'"", "index": %(index)d, "logprobs": null, "finish_reason": "%(finish)b"}]}',
        usage_rule="never",
        own_finish=True,
        whole=b'{"id":%(id)b,"object":"text_completion"' + _WHOLE,
        choice=b'{"text":"%(text)b","index":%(index)d,"logprobs":null,"finish_reason":"%(finish)b"}',
        default_tokens=16,
    ),
    errors={
        "json": Error(500, b"Internal Server Error", "text/plain; charset=utf-8"),
        "invalid": Error(500, _FAULT),
        "prompts": Error(500, _FAULT),
        "context": Error(400, _ERROR.replace(b'"code":null', b'"code":"context_length_exceeded"')),
        "full": Error(503, _FAULT),
        "path": Error(404, b'{"detail":%(message)b}'),
        "method": Error(405, b'{"detail":%(message)b}'),
        "key": Error(401, b'{"detail":%(message)b}'),
    },
    usage_object=b'{"prompt_tokens":%(input)d,"completion_tokens":%(output)d,"total_tokens":%(total)d}',
    id_form="uuid",
    headers=(("server", "uvicorn"), ("openai-processing-ms", "0"), ("vary", "Origin")),
    stream_headers=(("cache-control", "no-store"), ("connection", "keep-alive"), ("x-accel-buffering", "no")),
    request_id="own",
    ping=b": ping - %(now)b\n\n",
    ping_s=15.0,
    counts_stop=False,
    forces=frozenset({"min_tokens", "logit_bias"}),
    max_completion=False,
    prompt_lists="refused",
    prompt_ids=False,
    too_long="empty",
    echoes_model=True,
    health=None,
    models=(
        200,
        b'{"id":%(model)b,"object":"model","owned_by":%(owner)b,"permissions":[]}',
        "application/json",
    ),
)
