"""`transformers serve` 5.17, as recorded: it refuses what it does not know, and no [DONE] ends a stream."""

from loadgen.simulator.styles.style import OPENAI_CHAT, OPENAI_COMPLETIONS, Error, Spelling, Style

_CHAT = b'"created":%(created)d,"model":%(model)b,"object":"chat.completion.chunk","system_fingerprint":""'
_TEXT = b'"created":%(created)d,"model":%(model)b,"object":"text_completion"'
_DETAIL = b'{"detail":%(message)b}'
_FAULT = Error(500, b"Internal Server Error", "text/plain; charset=utf-8")

STYLE = Style(
    name="transformers",
    owner="transformers",
    chat=Spelling(
        id_prefix=b"",
        role=b'{"id":%(id)b,"choices":[{"delta":{"role":"assistant"},"index":%(index)d}],' + _CHAT + b"}",
        token=b'{"id":%(id)b,"choices":[{"delta":{"content":"%(text)b"},"index":%(index)d}],' + _CHAT + b"}",
        last=b'{"id":%(id)b,"choices":[{"delta":{},"index":%(index)d,"finish_reason":"%(finish)b"}],'
        + _CHAT
        + b"%(usage)b}",
        usage_rule="last",
        own_finish=True,
        whole=b'{"id":%(id)b,"choices":[%(choices)b],"created":%(created)d,"model":%(model)b,'
        b'"object":"chat.completion"%(usage)b}',
        choice=b'{"finish_reason":"%(finish)b","index":%(index)d,"message":{"content":"%(text)b","role":"assistant"}}',
        default_tokens=1024,
    ),
    completions=Spelling(
        id_prefix=b"",
        token=b'{"id":%(id)b,"choices":[{"index":%(index)d,"text":"%(text)b"}],' + _TEXT + b"}",
        last=b'{"id":%(id)b,"choices":[{"finish_reason":"%(finish)b","index":%(index)d,"text":""}],'
        + _TEXT
        + b"%(usage)b}",
        usage_rule="last",
        own_finish=True,
        whole=b'{"id":%(id)b,"choices":[%(choices)b],' + _TEXT + b"%(usage)b}",
        choice=b'{"finish_reason":"%(finish)b","index":%(index)d,"text":"%(text)b"}',
        default_tokens=1024,
    ),
    errors={
        "json": Error(
            422,
            b'{"detail":[{"type":"json_invalid","loc":["body",1],"msg":"JSON decode error","input":{},'
            b'"ctx":{"error":%(message)b}}]}',
        ),
        "invalid": Error(422, _DETAIL),
        "model": Error(400, b"{\"detail\":\"Server is pinned to '%(served)b'; requested '%(asked)b'.\"}"),
        "unknown": Error(422, b'{"detail":"Unexpected fields in the request: {%(fields)b}"}'),
        "prompts": Error(400, _DETAIL),
        "context": Error(400, _DETAIL),
        "full": Error(503, _DETAIL),
        "path": Error(404, _DETAIL),
        "method": Error(405, _DETAIL),
        "key": Error(401, _DETAIL),
    },
    usage_object=b'{"completion_tokens":%(output)d,"prompt_tokens":%(input)d,"total_tokens":%(total)d}',
    id_form="uuid",
    headers=(("server", "uvicorn"),),
    request_id="id",
    role_at_once=True,
    done=False,
    forces=frozenset({"generation_config"}),
    max_completion=False,
    prompt_lists="refused",
    prompt_ids=False,
    too_long="silent",
    known_fields={True: OPENAI_CHAT | {"generation_config"}, False: OPENAI_COMPLETIONS | {"generation_config"}},
    model_suffix="@main",
    models=(_FAULT.status, _FAULT.body, _FAULT.content_type),  # it lists the hub's cache, and there is none
)
