"""Before the first run: what is this server called, which endpoint and which fields does it take, how does it count?

A handful of tiny requests. What they find is a Protocol, which says how every request of the run is spelled; what the
server refuses is left out once, here, with a warning, and not found out a thousand times during the run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import numpy as np

from loadgen.endpoints.answer import Answer, Reading
from loadgen.endpoints.dialects import DIALECTS, ENGINES, OWNERS, Dialect, without
from loadgen.endpoints.openai import PATHS, Prompt, encode, failure_text
from loadgen.engines.asking import Asker
from loadgen.errors import TargetError
from loadgen.exchange import Outcome

_PROBE_TOKENS = 4  # output tokens of a probe: enough to see that the length is heeded
_PROBE_PROMPT = 8  # input tokens of a probe
# Vocabularies to try, largest first: servers refuse ids that their model does not have. 30,000 leaves out the special
# tokens at the top of the common ones (32,000 and more); 2,000 is there for toy models.
_VOCABULARIES = (30_000, 8_000, 2_000)
_BROKEN = 599  # stands for the status of an answer that began well and was none
_LIST_TIMEOUT_S = 15.0  # a list of models is ready or it is not; a first answer may take longer
_NO_SUCH_PATH = (404, 405, 501)
_CALIBRATION_WORDS = (8, 32, 96)


@dataclass(slots=True)
class Protocol:
    """How to talk to this server. `vocabulary`: prompts go as ids below this; 0 when they go as text."""

    model: str
    endpoint: str
    dialect: Dialect
    vocabulary: int = 0
    id_overhead: int = 0  # what the server adds to a prompt of ids, a BOS token
    context_max: int | None = None  # tokens, prompt and answer together
    engine: str | None = None
    says_usage: bool = False
    shares_events: bool = False  # several tokens came in one, and it does not say how many
    tokenizes: bool = False  # offers /tokenize
    warnings: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return PATHS[self.endpoint]

    def body(self, prompt: Prompt, output_tokens: int, *, stream: bool, extra: dict[str, Any]) -> bytes:
        """The JSON of one request."""
        return encode(self.endpoint, self.model, prompt, self.dialect.spell(output_tokens, stream=stream) | extra)

    def asks_lengths(self, extra: dict[str, Any]) -> bool:
        """Whether every request carries the length that was planned for it; the user's own fields may overrule it."""
        return not {"max_tokens", "max_completion_tokens"} & set(extra)


def probe(
    asker: Asker,
    *,
    model: str | None,
    endpoint: str,
    stream: bool,
    extra: dict[str, Any],
    may_send_ids: bool = True,
    engine: str | None = None,
) -> Protocol:
    """Find out. `endpoint` is chat, completions or auto. Raises TargetError for everything that fails.

    `engine` is known when it was started by us, or from /v1/models: then its row of the table is tried first.
    """
    listed = _models(asker, model is None)
    name = model or _only_model(asker, listed)
    entry = next((one for one in listed or [] if one.get("id") == name), {})
    protocol = Protocol(name, endpoint, DIALECTS[0], engine=_engine(entry))
    known = ENGINES.get(engine or OWNERS.get(protocol.engine or "", ""))
    may_send_ids = may_send_ids and (known is None or known.takes_ids)
    rows = (known.dialect, *DIALECTS) if known is not None else DIALECTS
    length = entry.get("max_model_len")
    protocol.context_max = length if isinstance(length, int) else None
    for choice in ("completions", "chat") if endpoint == "auto" else (endpoint,):
        protocol.endpoint = choice
        status, text = _settle_fields(asker, protocol, rows, stream, extra, may_send_ids)
        absent = status == 404 and "model" not in text.lower()
        if absent and endpoint == "auto" and choice == "completions":
            continue  # a server that knows chat only
        if absent and (entry or not listed):
            break
        if status >= 400:
            raise _refusal(asker, protocol, status, text, listed)
        return protocol
    places = " nor ".join(
        asker.target.url(PATHS[each]) for each in (("completions", "chat") if endpoint == "auto" else (endpoint,))
    )
    raise TargetError(
        f"There is {'neither' if endpoint == 'auto' else 'no'} {places} (HTTP 404).",
        "Is this an OpenAI-compatible server, and is --base-url its address up to /v1?",
    )


def _models(asker: Asker, needed: bool) -> list[dict[str, Any]] | None:
    """What /v1/models lists; None when the server has no such list. When it is `needed`, failing is an error."""
    status, body = asker.ask("/v1/models", timeout_s=_LIST_TIMEOUT_S)
    if status in (401, 403):
        raise TargetError(
            f"{asker.target.authority} wants an API key (HTTP {status}).", "Give it with --api-key or OPENAI_API_KEY."
        )
    if needed and status not in (200, *_NO_SUCH_PATH):
        words = failure_text(body).rstrip(".")
        raise TargetError(
            f"{asker.target.url('/v1/models')} fails with HTTP {status}{': ' if words else ''}{words}.",
            "Is the server still loading, or down behind its gateway? Its own log may say more.",
        )
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        if status == 200:
            raise TargetError(
                f"{asker.target.url('/v1/models')} answers with {failure_text(body) or 'nothing'!r}, not with JSON.",
                "Is this the port of an OpenAI-compatible API server?",
            ) from None
        return None
    listed = answer.get("data") if isinstance(answer, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else None


def _only_model(asker: Asker, listed: list[dict[str, Any]] | None) -> str:
    names = [str(one["id"]) for one in listed or [] if one.get("id")]
    if len(names) == 1:
        return names[0]
    if not names:
        raise TargetError(f"{asker.target.authority} does not say which model it serves.", "Name it with --model.")
    known = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    raise TargetError(f"{asker.target.authority} serves several models: {known}.", "Choose one with --model.")


def _engine(entry: dict[str, Any]) -> str | None:
    """Who the server says it is, for the report; nothing depends on it."""
    owner = entry.get("owned_by")
    return {"llamacpp": "llama.cpp", "me": "llama_cpp.server"}.get(str(owner), str(owner)) if owner else None


def _settle_fields(
    asker: Asker,
    protocol: Protocol,
    rows: tuple[Dialect, ...],
    stream: bool,
    extra: dict[str, Any],
    may_send_ids: bool,
) -> tuple[int, str]:
    """Walk down the table of dialects until the server takes a request. (0, "") when one was taken."""
    vocabularies = list(_VOCABULARIES if may_send_ids and protocol.endpoint == "completions" else ())
    status, text = 0, ""
    last = Reading(Outcome.OK, "", None, -1, [], None, None, 0, "", 0, 0, 0, 0, 0)
    for row, dialect in enumerate(rows):
        protocol.dialect = dialect
        for _ in range(4 + len(_VOCABULARIES)):  # smaller ids, text, then drop what is named
            protocol.vocabulary = vocabularies[0] if vocabularies else 0
            status, text, last = _try(asker, protocol, stream, extra)
            # _BROKEN: an error inside a 200 stream, which is how vLLM refuses an id that its model does not have
            if status == 0 or status not in (400, 422, 500, *((_BROKEN,) if vocabularies else ())):
                break
            if vocabularies:
                del vocabularies[0]  # perhaps it was the ids: text is taken by everybody
                continue
            refused = [name for name in protocol.dialect.fields if name in text]
            if not refused:
                break
            fewer = without(protocol.dialect, refused)
            if not fewer.length_forced and any(each.length_forced for each in rows[row + 1 :]):
                break  # a row further down may force the length in another way
            protocol.warnings.append(f"The server refuses {', '.join(refused)}: sent without from now on.")
            protocol.dialect = fewer
        if status == 0:
            _note(protocol, last)
            return 0, ""
        if status not in (400, 422):
            break
    return status, text


def _try(asker: Asker, protocol: Protocol, stream: bool, extra: dict[str, Any]) -> tuple[int, str, Reading]:
    """One tiny request: (0, "", what came) when it worked, else (status, the server's words, …)."""
    prompt: str | list[int] = "one two three four five six seven eight"
    if protocol.vocabulary:
        prompt = list(range(protocol.vocabulary - _PROBE_PROMPT, protocol.vocabulary))
    status, body = asker.ask(protocol.path, protocol.body(prompt, _PROBE_TOKENS, stream=stream, extra=extra))
    answer = Answer(stream)
    answer.feed(body, np.array([len(body)]), np.array([0]))
    reading = answer.finish(status, Outcome.OK, "")
    if reading.outcome is Outcome.OK:
        return 0, "", reading
    return (status if status >= 400 else _BROKEN), reading.detail, reading


def _note(protocol: Protocol, reading: Reading) -> None:
    """What the accepted probe taught."""
    protocol.says_usage = reading.input_tokens is not None
    if protocol.vocabulary and reading.input_tokens is not None:
        protocol.id_overhead = reading.input_tokens - _PROBE_PROMPT
        if not 0 <= protocol.id_overhead <= 4:  # it took the ids for something else
            protocol.vocabulary = 0
    if reading.token_source == "events":
        protocol.warnings.append(
            "The server does not say how many tokens it sent: an answer that ends for its length is counted as asked, "
            "any other by its events."
        )
        protocol.shares_events = reading.finish_reason == "length" and reading.output_tokens < _PROBE_TOKENS
    if not protocol.dialect.length_forced:
        protocol.warnings.append("The server has no way to force the output length: answers may be shorter than asked.")
    elif reading.output_tokens != _PROBE_TOKENS and reading.token_source == "usage":
        protocol.warnings.append(f"Asked for {_PROBE_TOKENS} output tokens, got {reading.output_tokens}.")


def _refusal(
    asker: Asker, protocol: Protocol, status: int, text: str, listed: list[dict[str, Any]] | None
) -> TargetError:
    """The sentence for a server that takes no request at all."""
    place, text = asker.target.url(protocol.path), text.rstrip(".")
    if status in (401, 403):
        return TargetError(
            f"{asker.target.authority} wants an API key (HTTP {status}).", "Give it with --api-key or OPENAI_API_KEY."
        )
    if status == 404 or "model" in text.lower():
        names = ", ".join(str(one.get("id")) for one in listed or []) or "nothing that it lists"
        return TargetError(
            f"{place} refuses the model '{protocol.model}': {text}.", f"It serves {names}; choose with --model."
        )
    if status == _BROKEN:
        return TargetError(f"{place} answers, but not as an OpenAI server: {text}.", "Is this the right --base-url?")
    return TargetError(f"{place} refuses even the plainest request: {text}.", "Its own log may say more.")


def measure_words(asker: Asker, protocol: Protocol, text_of: Callable[[int, int], str]) -> list[tuple[int, int]]:
    """(words, prompt tokens by the server's count) of a few probes; empty when the server does not count.

    `text_of(i, words)` makes the i-th text of exactly that many words.
    """
    found = []
    for index, words in enumerate(_CALIBRATION_WORDS):
        body = protocol.body(text_of(index, words), 1, stream=False, extra={})
        status, answer = asker.ask(protocol.path, body)
        try:
            usage = msgspec.json.decode(answer).get("usage") if status == 200 else None
        except (msgspec.DecodeError, AttributeError):
            usage = None
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            return []
        found.append((words, usage["prompt_tokens"]))
    return found


def tokenize_count(asker: Asker, protocol: Protocol) -> Callable[[str], int] | None:
    """The server's own `/tokenize` as a count, where it has one: vLLM's and SGLang's spelling, or llama.cpp's."""

    def count_as(spell: Callable[[str], dict[str, str]], text: str) -> int:
        status, body = asker.ask("/tokenize", msgspec.json.encode(spell(text)))
        try:
            answer = msgspec.json.decode(body) if status == 200 else None
        except msgspec.DecodeError:
            answer = None
        tokens = answer.get("count", answer.get("tokens")) if isinstance(answer, dict) else None
        return tokens if isinstance(tokens, int) else len(tokens) if isinstance(tokens, list) else 0

    for spell in (lambda text: {"model": protocol.model, "prompt": text}, lambda text: {"content": text}):
        if count_as(spell, "one two three") > 0:
            return partial(count_as, spell)
    return None
