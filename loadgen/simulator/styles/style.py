"""What may differ between two servers of the same API, as data: one `Style` a server, one `Spelling` an endpoint.

A template is the JSON of one event or answer as the server sends it, with what belongs to the request left open:

    %(id)b %(model)b   JSON strings, with their quotes         %(text)b     the text, already escaped
    %(created)d        seconds                                 %(finish)b   length or stop
    %(index)d          of the choice                           %(usage)b    `,"usage":{…}` where it is due, else nothing
    %(timings)b        llama.cpp's `,"timings":{…}`            %(end)b      what the last event of a stream carries

Nothing here is computed; what to do with a template stands in wire.py, what to do with a limit in protocol.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Spelling:
    """One endpoint's bytes.

    role        the event that announces the assistant, before any text; None where there is none
    token       the event of a token; its text is the only thing that changes between two of them
    last        the last token's event with its finish_reason; or, when `own_finish`, an event that follows it
    usage       the event with the usage of the whole answer and no choice; None where there is none
    usage_rule  when usage comes: `asked` (include_usage), `last` (always, in the last event), `never`
    stop        the text of the event that a stop has of its own, before `last`; None: a stop is no event
    end         what the event with usage carries, or the last event where none follows; may hold `%(timings)b`
    whole       an answer that is not streamed; `%(choices)b` are `choice`s, joined
    """

    id_prefix: bytes
    token: bytes
    last: bytes
    whole: bytes
    choice: bytes
    role: bytes | None = None
    usage: bytes | None = None
    usage_rule: Literal["asked", "last", "never"] = "asked"
    own_finish: bool = False
    stop: bytes | None = None
    end: bytes = b""
    default_tokens: int | None = None  # of an answer, when the request does not say; None: to the end of the context


@dataclass(frozen=True, slots=True)
class Error:
    """How one kind of refusal is answered; `%(message)b` is the sentence and `%(param)b` the field, as JSON."""

    status: int
    body: bytes
    content_type: str = "application/json"


# What a request may be refused for. A kind that a style has no answer to is no reason for that server.
Kind = Literal[
    "json",  # the body is not JSON
    "form",  # a value of the wrong type; told as `invalid` where there is no answer of its own
    "invalid",  # a value out of range, or nothing where something is needed
    "model",  # another model than the one served
    "unknown",  # a field that the server does not know
    "prompts",  # token ids, or a list of prompts
    "context",  # the prompt alone is too long
    "max_tokens",  # prompt and answer together are; else the answer is cut to what fits
    "full",  # the queue is
    "path",  # there is no such path
    "method",  # a path that takes others; told as `path` where there is no answer of its own
    "key",  # a wrong API key
]

# The fields that OpenAI's API has, for servers that refuse any other.
_OPENAI = frozenset(
    {
        *("model", "max_tokens", "n", "stream", "stream_options", "temperature", "top_p", "stop", "seed", "user"),
        *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs"),
    }
)
OPENAI_COMPLETIONS = _OPENAI | {"prompt", "suffix", "echo", "best_of"}
OPENAI_CHAT = _OPENAI | {
    *("messages", "max_completion_tokens", "top_logprobs", "response_format", "tools", "tool_choice", "modalities"),
    *("parallel_tool_calls", "reasoning_effort", "metadata", "store", "service_tier", "audio", "prediction"),
    *("function_call", "functions", "verbosity", "web_search_options"),
}


@dataclass(frozen=True, slots=True)
class Style:
    """One server's manners. What is not named here is the same for all of them.

    owner            who its models belong to, in /v1/models
    usage_object     `%(input)d`, `%(output)d`, `%(total)d`; `whole_usage` of an answer that is not streamed, where it
                     differs; `running_usage` so far in every event (continuous_usage_stats), None: never
    id_form          how it makes the ids of its answers
    headers          of every answer beside Content-Type; `stream_headers` of a streamed one beside these;
                     `request_id`: whether it also says x-request-id, the answer's id or one of its own
    role_at_once     the role event leaves before the prompt is computed, not with the first token
    glued            events that are ready together share an HTTP chunk
    done             whether `data: [DONE]` ends a stream
    closes           the connection is closed after a streamed answer and after a refusal
    finishes         it goes on generating for a client that has left
    ping, ping_s     a comment in a stream, and every how many seconds; `ping_silent`: only when nothing else was sent
    null_first       `data: null` begins the stream of a list of prompts
    counts_stop      whether usage counts the token that is a stop
    eos_is_empty     under ignore_eos a token without text is sent where the answer would have ended
    forces           the fields by which a request can force the length of its answer
    max_completion   whether max_completion_tokens counts
    strict           fields are checked against each other: min_tokens and max_tokens, stream_options and stream
    copies           what `n` does: every copy counts in usage, only the first does, or it is ignored
    too_long         a streamed prompt that is too long: refused, an empty stream, or a stream in which nothing comes
    known_fields     chat or not → fields that it takes, where it refuses others; None: it ignores what it does not know
    model_suffix     what it adds to the name of its model; `echoes_model`: it repeats whatever it was asked for
    health, models   the answers to GET /health (None: 404) and /v1/models: status, an entry of the list, type. A body
                     that begins with `{"models"` or is no entry is the whole answer
    props            llama.cpp's answer to GET /props; `%(slots)d`
    metrics          path → which of metrics.py's texts it has
    idle_s           how long an idle connection is kept
    """

    name: str
    owner: str
    chat: Spelling
    completions: Spelling
    errors: Mapping[Kind, Error]
    usage_object: bytes
    whole_usage: bytes | None = None
    running_usage: bytes | None = None
    id_form: Literal["hex16", "hex32", "uuid", "alnum22", "alnum32"] = "hex16"
    headers: tuple[tuple[str, str], ...] = (("server", "uvicorn"),)
    stream_headers: tuple[tuple[str, str], ...] = ()
    request_id: Literal["", "id", "own"] = ""
    json_type: str = "application/json"
    stream_type: str = "text/event-stream; charset=utf-8"
    role_at_once: bool = False
    glued: bool = False
    done: bool = True
    closes: bool = False
    finishes: bool = False
    ping: bytes = b""
    ping_s: float = 0.0
    ping_silent: bool = False
    null_first: bool = False
    counts_stop: bool = True
    eos_is_empty: bool = False
    forces: frozenset[str] = frozenset()
    max_completion: bool = True
    strict: bool = False
    copies: Literal["all", "first", "ignored"] = "ignored"
    prompt_lists: Literal["all", "first", "refused"] = "all"
    prompt_ids: bool = True
    too_long: Literal["refused", "empty", "silent"] = "refused"
    known_fields: Mapping[bool, frozenset[str]] | None = None
    model_suffix: str = ""
    echoes_model: bool = False
    health: bytes | None = b'{"status":"ok"}'
    models: tuple[int, bytes, str] = (200, b"", "application/json")
    props: bytes = b""
    tokenize: Literal["vllm", "llama.cpp", ""] = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    idle_s: float = 5.0

    def spelling(self, *, chat: bool) -> Spelling:
        return self.chat if chat else self.completions
