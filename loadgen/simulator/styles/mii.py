"""DeepSpeed-MII 0.3.3's OpenAI server: the role comes at once, the finish_reason after the last token, without text.

As recorded in front of a stand-in of its back end, but for the end of a stream, which is its own scheduler's
(tests/engines/test_mii.py): the token that ends an answer is shown, and no usage counts it.
"""

from loadgen.simulator.styles.style import Error, Spelling, Style

_CHAT = b'{"id":%(id)b,"model":%(model)b,"choices":[{"index":%(index)d,"delta":'
_TEXT = b'{"id":%(id)b,"object":"text_completion","model":%(model)b,"choices":[{"index":%(index)d,"text":'
_WHOLE = b',"created":%(created)d,"model":%(model)b,"choices":[%(choices)b]%(usage)b}'
_ERROR = b'{"object":"error","message":%(message)b,"code":40001}'
_MODEL = (
    b'{"id":%(model)b,"object":"model","created":%(created)d,"owned_by":%(owner)b,"root":%(root)b,"parent":null,'
    b'"permission":[{"id":"modelperm-%(permission)b","object":"model_permission","created":%(created)d,'
    b'"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":true,'
    b'"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}'
)

STYLE = Style(
    name="mii",
    owner="deepspeed-mii",
    chat=Spelling(
        id_prefix=b"chatcmpl-",
        role=_CHAT + b'{"role":"assistant"},"finish_reason":null}]}',
        token=_CHAT + b'{"content":"%(text)b"},"finish_reason":null}]}',
        last=_CHAT + b'{"content":""},"finish_reason":"%(finish)b"}]}',
        usage_rule="never",
        own_finish=True,
        stop=b"</s>",
        whole=b'{"id":%(id)b,"object":"chat.completion"' + _WHOLE,
        choice=b'{"index":%(index)d,"message":{"role":"assistant","content":"%(text)b"},"finish_reason":"%(finish)b"}',
        default_tokens=128,
    ),
    completions=Spelling(
        id_prefix=b"cmpl-",
        token=_TEXT + b'"%(text)b","logprobs":null,"finish_reason":null}]}',
        last=_TEXT + b'"","logprobs":null,"finish_reason":"%(finish)b"}]}',
        usage_rule="never",
        own_finish=True,
        stop=b"</s>",
        whole=b'{"id":%(id)b,"object":"text_completion"' + _WHOLE,
        choice=b'{"index":%(index)d,"text":"%(text)b","logprobs":null,"finish_reason":"%(finish)b"}',
        default_tokens=128,
    ),
    errors={
        "json": Error(400, _ERROR),
        "invalid": Error(400, _ERROR),
        "model": Error(400, b'{"object":"error","message":"Model %(asked)b not found.","code":40301}'),
        "prompts": Error(500, b"Internal Server Error", "text/plain; charset=utf-8"),
        "context": Error(400, _ERROR.replace(b"40001", b"40303")),
        "full": Error(503, _ERROR.replace(b"40001", b"50001")),
        "path": Error(404, b'{"detail":%(message)b}'),
        "method": Error(405, b'{"detail":%(message)b}'),
        "key": Error(401, b'{"detail":%(message)b}'),
    },
    usage_object=b'{"prompt_tokens":%(input)d,"total_tokens":%(total)d,"completion_tokens":%(output)d}',
    id_form="alnum22",
    headers=(("server", "uvicorn"), ("vary", "Origin")),
    role_at_once=True,
    finishes=True,
    counts_stop=False,
    forces=frozenset({"min_tokens"}),
    max_completion=False,
    prompt_lists="first",
    prompt_ids=False,
    models=(200, _MODEL, "application/json"),
    idle_s=300.0,
)
