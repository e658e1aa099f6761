"""trtllm-serve, from its documents and its protocol's field names: nothing of it was recorded, so it may be off.

What is known well: the role comes with the first token, on a line that ends with a space; fields that it does not know
are refused with 400 and `{"error": "…"}`; `/metrics` is JSON, Prometheus is elsewhere.
"""

from loadgen.simulator.styles.style import OPENAI_CHAT, OPENAI_COMPLETIONS, Error, Spelling, Style

_CHAT = b'{"id":%(id)b,"object":"chat.completion.chunk","created":%(created)d,"model":%(model)b,"choices":['
_TEXT = b'{"id":%(id)b,"object":"text_completion","created":%(created)d,"model":%(model)b,"choices":['
_WHOLE = b',"created":%(created)d,"model":%(model)b,"choices":[%(choices)b]%(usage)b}'
_ERROR = Error(400, b'{"error":%(message)b}')
_OWN = frozenset(
    {
        *("ignore_eos", "min_tokens", "top_k", "min_p", "repetition_penalty", "length_penalty", "early_stopping"),
        *("use_beam_search", "best_of", "skip_special_tokens", "spaces_between_special_tokens", "detokenize"),
        *("truncate_prompt_tokens", "include_stop_str_in_output", "stop_token_ids", "add_special_tokens"),
        *(
            "return_context_logits",
            "prompt_ignore_length",
            "lora_request",
            "disaggregated_params",
            "add_generation_prompt",
        ),
        *("chat_template", "chat_template_kwargs", "documents", "echo", "guided_decoding_params", "cache_salt"),
    }
)

STYLE = Style(
    name="tensorrt-llm",
    owner="tensorrt_llm",
    chat=Spelling(
        id_prefix=b"chatcmpl-",
        role=_CHAT + b'{"index":%(index)d,"delta":{"role":"assistant","content":""}}]%(usage)b} ',
        token=_CHAT + b'{"index":%(index)d,"delta":{"content":"%(text)b"}}]%(usage)b}',
        last=_CHAT + b'{"index":%(index)d,"delta":{"content":"%(text)b"},"finish_reason":"%(finish)b"}]%(usage)b}',
        usage=_CHAT + b"]%(usage)b}",
        whole=b'{"id":%(id)b,"object":"chat.completion"' + _WHOLE,
        choice=b'{"index":%(index)d,"message":{"role":"assistant","content":"%(text)b"},"finish_reason":"%(finish)b"}',
    ),
    completions=Spelling(
        id_prefix=b"cmpl-",
        token=_TEXT + b'{"index":%(index)d,"text":"%(text)b"}]%(usage)b}',
        last=_TEXT + b'{"index":%(index)d,"text":"%(text)b","finish_reason":"%(finish)b"}]%(usage)b}',
        usage=_TEXT + b"]%(usage)b}",
        whole=b'{"id":%(id)b,"object":"text_completion"' + _WHOLE,
        choice=b'{"index":%(index)d,"text":"%(text)b","finish_reason":"%(finish)b"}',
        default_tokens=16,
    ),
    errors={
        "json": _ERROR,
        "invalid": _ERROR,
        "unknown": _ERROR,
        "context": _ERROR,
        "max_tokens": _ERROR,
        "full": Error(503, _ERROR.body),
        "path": Error(404, b'{"detail":%(message)b}'),
        "method": Error(405, b'{"detail":%(message)b}'),
        "key": Error(401, b'{"detail":%(message)b}'),
    },
    usage_object=b'{"prompt_tokens":%(input)d,"total_tokens":%(total)d,"completion_tokens":%(output)d}',
    running_usage=b'{"prompt_tokens":%(input)d,"total_tokens":%(total)d,"completion_tokens":%(output)d}',
    id_form="hex32",
    headers=(("server", "uvicorn"),),
    forces=frozenset({"ignore_eos", "min_tokens"}),
    strict=True,
    known_fields={True: OPENAI_CHAT | _OWN, False: OPENAI_COMPLETIONS | _OWN},
    health=b"",
    models=(
        200,
        b'{"id":%(model)b,"object":"model","created":%(created)d,"owned_by":%(owner)b}',
        "application/json",
    ),
    metrics={"/metrics": "tensorrt-llm", "/prometheus/metrics": "tensorrt-llm-prometheus"},
)
