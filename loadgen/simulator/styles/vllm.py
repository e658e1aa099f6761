"""vLLM 0.32, as recorded on a CPU; the default. The fingerprint names the simulator, so nobody takes it for vLLM."""

from loadgen import __version__
from loadgen.simulator.styles.style import Error, Spelling, Style

FINGERPRINT = f"loadgen-simulator-{__version__}"
_FINGERPRINT = f',"system_fingerprint":"{FINGERPRINT}"'.encode()
_ENVELOPE = b'{"id":%(id)b,"object":"chat.completion.chunk","created":%(created)d,"model":%(model)b,"choices":['
_TEXT = b'{"id":%(id)b,"object":"text_completion","created":%(created)d,"model":%(model)b,"choices":['
_PROMPT = b'"prompt_token_ids":null,"token_ids":null}]%(usage)b'
_ERROR = b'{"error":{"message":%(message)b,"type":"BadRequestError","param":%(param)b,"code":400}}'
_MODEL = (
    b'{"id":%(model)b,"object":"model","created":%(created)d,"owned_by":%(owner)b,"root":%(root)b,"parent":null,'
    b'"max_model_len":%(context)d,"permission":[{"id":"modelperm-%(permission)b","object":"model_permission",'
    b'"created":%(created)d,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,'
    b'"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,'
    b'"is_blocking":false}]}'
)

CHAT = Spelling(
    id_prefix=b"chatcmpl-",
    role=_ENVELOPE + b'{"index":%(index)d,"delta":{"role":"assistant","content":""},"logprobs":null,'
    b'"finish_reason":null}]%(usage)b,"prompt_token_ids":null,"prompt_text":null}',
    token=_ENVELOPE + b'{"index":%(index)d,"delta":{"content":"%(text)b"},"logprobs":null,"finish_reason":null,'
    b'"token_ids":null}]%(usage)b}',
    last=_ENVELOPE + b'{"index":%(index)d,"delta":{"content":"%(text)b"},"logprobs":null,"finish_reason":"%(finish)b",'
    b'"stop_reason":null,"token_ids":null}]%(usage)b%(end)b}',
    usage=_ENVELOPE + b"]%(usage)b%(end)b}",
    end=_FINGERPRINT,
    whole=b'{"id":%(id)b,"object":"chat.completion","created":%(created)d,"model":%(model)b,"choices":[%(choices)b],'
    b'"service_tier":null%(end)b%(usage)b,"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,'
    b'"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}',
    choice=b'{"index":%(index)d,"message":{"role":"assistant","content":"%(text)b","refusal":null,"annotations":null,'
    b'"audio":null,"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"%(finish)b",'
    b'"stop_reason":null,"token_ids":null,"routed_experts":null}',
)
COMPLETIONS = Spelling(
    id_prefix=b"cmpl-",
    token=_TEXT
    + b'{"index":%(index)d,"text":"%(text)b","logprobs":null,"finish_reason":null,"stop_reason":null,'
    + _PROMPT
    + b"}",
    last=_TEXT + b'{"index":%(index)d,"text":"%(text)b","logprobs":null,"finish_reason":"%(finish)b",'
    b'"stop_reason":null,' + _PROMPT + b"%(end)b}",
    usage=_TEXT + b"]%(usage)b%(end)b}",
    end=_FINGERPRINT,
    whole=b'{"id":%(id)b,"object":"text_completion","created":%(created)d,"model":%(model)b,"choices":[%(choices)b],'
    b'"service_tier":null%(end)b%(usage)b,"kv_transfer_params":null}',
    choice=b'{"index":%(index)d,"text":"%(text)b","logprobs":null,"finish_reason":"%(finish)b","stop_reason":null,'
    b'"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null}',
    default_tokens=16,
)
STYLE = Style(
    name="vllm",
    owner="vllm",
    chat=CHAT,
    completions=COMPLETIONS,
    errors={
        "json": Error(400, _ERROR.replace(b"BadRequestError", b"Bad Request")),
        "form": Error(400, _ERROR.replace(b"BadRequestError", b"Bad Request")),
        "invalid": Error(400, _ERROR),
        "model": Error(404, _ERROR.replace(b"BadRequestError", b"NotFoundError").replace(b"400", b"404")),
        "context": Error(400, _ERROR),
        "max_tokens": Error(400, _ERROR),
        "full": Error(429, _ERROR.replace(b"BadRequestError", b"TooManyRequestsError").replace(b"400", b"429")),
        "path": Error(404, b'{"detail":%(message)b}'),
        "method": Error(405, b'{"detail":%(message)b}'),
        "key": Error(401, b'{"error":"Unauthorized"}'),
    },
    usage_object=b'{"prompt_tokens":%(input)d,"total_tokens":%(total)d,"completion_tokens":%(output)d}',
    whole_usage=b'{"prompt_tokens":%(input)d,"total_tokens":%(total)d,"completion_tokens":%(output)d,'
    b'"prompt_tokens_details":null,"completion_tokens_details":null}',
    running_usage=b'{"prompt_tokens":%(input)d,"total_tokens":%(total)d,"completion_tokens":%(output)d,'
    b'"completion_tokens_details":null}',
    headers=(("server", "uvicorn"), ("vary", "Origin")),
    forces=frozenset({"ignore_eos", "min_tokens"}),
    strict=True,
    copies="all",
    eos_is_empty=True,
    health=b"",
    models=(200, _MODEL, "application/json"),
    tokenize="vllm",
    metrics={"/metrics": "vllm"},
)
