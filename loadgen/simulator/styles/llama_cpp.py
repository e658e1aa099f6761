"""llama-server, as recorded through the wheel xllamacpp: timings in every answer, and a connection that it closes."""

from loadgen.simulator.styles.style import Error, Spelling, Style

_WHEN = b'"created":%(created)d,"model":%(model)b,"system_fingerprint":"b0-unknown","object":'
_CHUNK = b'"created":%(created)d,"id":%(id)b,"model":%(model)b,"system_fingerprint":"b0-unknown","object":'
_CHAT = b"}]," + _CHUNK + b'"chat.completion.chunk"'
_TEXT = b"}]," + _WHEN + b'"text_completion"'
_ERROR = b'{"error":{"code":400,"message":%(message)b,"type":"invalid_request_error"}}'
_JSON = "application/json; charset=utf-8"
_MODEL = (
    b'{"models":[{"name":%(model)b,"model":%(model)b,"modified_at":"","size":"","digest":"","type":"model",'
    b'"description":"","tags":[""],"capabilities":["completion"],"parameters":"","details":{"parent_model":"",'
    b'"format":"gguf","family":"","families":[""],"parameter_size":"","quantization_level":""}}],"object":"list",'
    b'"data":[{"id":%(model)b,"aliases":[%(model)b],"tags":[],"object":"model",'
    b'"architecture":{"input_modalities":["text"],"output_modalities":["text"]},"created":%(created)d,'
    b'"owned_by":%(owner)b,"meta":{"vocab_type":2,"n_vocab":%(vocabulary)d,"n_ctx":%(context)d,'
    b'"n_ctx_train":%(context)d,"n_embd":0,"n_params":0,"size":0,"ftype":"F16"}}]}'
)

STYLE = Style(
    name="llama.cpp",
    owner="llamacpp",
    chat=Spelling(
        id_prefix=b"chatcmpl-",
        role=b'{"choices":[{"finish_reason":null,"index":%(index)d,"delta":{"role":"assistant","content":null}'
        + _CHAT
        + b"}",
        token=b'{"choices":[{"finish_reason":null,"index":%(index)d,"delta":{"content":"%(text)b"}'
        + _CHAT
        + b"%(timings)b}",
        last=b'{"choices":[{"finish_reason":"%(finish)b","index":%(index)d,"delta":{}' + _CHAT + b"%(end)b}",
        usage=b'{"choices":[],' + _CHUNK + b'"chat.completion.chunk"%(usage)b%(end)b}',
        end=b"%(timings)b",
        own_finish=True,
        whole=b'{"choices":[%(choices)b],' + _WHEN + b'"chat.completion"%(usage)b,"id":%(id)b%(timings)b}',
        choice=b'{"finish_reason":"%(finish)b","index":%(index)d,"message":{"role":"assistant","content":"%(text)b"}}',
    ),
    completions=Spelling(
        id_prefix=b"chatcmpl-",
        token=b'{"choices":[{"text":"%(text)b","index":%(index)d,"logprobs":null,"finish_reason":null'
        + _TEXT
        + b',"id":%(id)b%(timings)b}',
        last=b'{"choices":[{"text":"","index":%(index)d,"logprobs":null,"finish_reason":"%(finish)b"'
        + _TEXT
        + b'%(usage)b,"id":%(id)b%(end)b}',
        end=b"%(timings)b",
        usage_rule="last",
        own_finish=True,
        stop=b"",
        whole=b'{"choices":[%(choices)b],' + _WHEN + b'"text_completion"%(usage)b,"id":%(id)b%(timings)b}',
        choice=b'{"text":"%(text)b","index":%(index)d,"logprobs":null,"finish_reason":"%(finish)b"}',
    ),
    errors={
        "json": Error(400, _ERROR, _JSON),
        "invalid": Error(400, _ERROR, _JSON),
        "context": Error(
            400,
            b'{"error":{"code":400,"message":"request (%(tokens)d tokens) exceeds the available context size '
            b'(%(context)d tokens), try increasing it","type":"exceed_context_size_error",'
            b'"n_prompt_tokens":%(tokens)d,"n_ctx":%(context)d}}',
            _JSON,
        ),
        "full": Error(503, b'{"error":{"code":503,"message":%(message)b,"type":"unavailable_error"}}', _JSON),
        "path": Error(404, b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}', _JSON),
        "key": Error(401, b'{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}', _JSON),
    },
    usage_object=b'{"completion_tokens":%(output)d,"prompt_tokens":%(input)d,"total_tokens":%(total)d,'
    b'"prompt_tokens_details":{"cached_tokens":0}}',
    id_form="alnum32",
    headers=(("Server", "llama.cpp"), ("Access-Control-Allow-Origin", ""), ("Keep-Alive", "timeout=5, max=100")),
    stream_headers=(("X-Accel-Buffering", "no"),),
    json_type=_JSON,
    stream_type="text/event-stream",
    glued=True,
    closes=True,
    ping=b":\n\n",
    ping_s=30.0,
    ping_silent=True,
    null_first=True,
    forces=frozenset({"ignore_eos"}),
    copies="first",
    models=(200, _MODEL, _JSON),
    props=b'{"default_generation_settings":{"n_ctx":%(context)d},"total_slots":%(slots)d,"model_path":%(model)b}',
    tokenize="llama.cpp",
    metrics={"/metrics": "llama.cpp"},
)
