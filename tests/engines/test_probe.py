"""What the probe makes of servers of every kind, each of them a script of bytes."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from scripted import Request, Server, Visit, answering, by_path, chunked, http

from loadgen.engines.asking import Asker
from loadgen.engines.probe import Protocol, measure_words, probe, tokenize_count
from loadgen.errors import ExitCode, TargetError
from loadgen.target import parse_target

Answering = Callable[[Request], bytes]
COMPLETIONS, CHAT, MODELS = "/v1/completions", "/v1/chat/completions", "/v1/models"


def said(content: object, status: str = "200 OK") -> bytes:
    return http(json.dumps(content).encode(), status)


def models(*names: str, **more: object) -> Answering:
    return lambda _: said({"object": "list", "data": [{"id": name} | more for name in names]})


def answer(
    request: Request, *, usage: bool = True, tokens: int | None = None, prompt_tokens: int | None = None
) -> bytes:
    """A stream or a whole answer of as many tokens as asked; a prompt of ids counts as many as it has."""
    body = json.loads(request.body)
    n = body["max_tokens"] if tokens is None else tokens
    chat = request.path == CHAT
    counted = len(body.get("prompt", "12345678")) if prompt_tokens is None else prompt_tokens
    told = {"usage": {"prompt_tokens": counted, "completion_tokens": n}} if usage else {}
    if not body.get("stream"):
        word = {"message": {"role": "assistant", "content": "a" * n}} if chat else {"text": "a" * n}
        return said({"choices": [{"index": 0, "finish_reason": "length"} | word]} | told)
    events = []
    for at in range(n):
        word = {"delta": {"content": "a"}} if chat else {"text": "a"}
        reason = "length" if at == n - 1 else None
        events.append({"choices": [{"index": 0, "finish_reason": reason} | word]})
    if told:
        events.append({"choices": []} | told)
    return chunked(*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events), b"data: [DONE]\n\n")


def find_out(url: str, **changes: Any) -> Protocol:
    asked = {"model": None, "endpoint": "auto", "stream": True, "extra": {}}
    return probe(asker(url), **(asked | changes))  # type: ignore[arg-type]


def asker(url: str) -> Asker:
    return Asker(parse_target(url), {"Content-Type": "application/json"})


def refused(url: str, **changes: Any) -> TargetError:
    with pytest.raises(TargetError) as caught:
        find_out(url, **changes)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not str(caught.value).endswith("..")
    assert caught.value.hint
    return caught.value


def bodies(server: Server, path: str = COMPLETIONS) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests if request.path == path]


def test_a_server_that_takes_everything() -> None:
    routes = {MODELS: models("m", max_model_len=4096, owned_by="vllm"), COMPLETIONS: answer}
    with Server(by_path(routes)) as server:
        found = find_out(server.url)
        (body,) = bodies(server)
    assert (found.model, found.endpoint, found.path) == ("m", "completions", COMPLETIONS)
    assert (found.vocabulary, found.id_overhead, found.context_max, found.engine) == (30_000, 0, 4096, "vllm")
    assert (found.says_usage, found.warnings) == (True, [])
    assert (body["ignore_eos"], body["min_tokens"], body["stream_options"]) == (True, 4, {"include_usage": True})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_the_endpoint_and_the_form_that_were_asked_for(endpoint: str, stream: bool) -> None:
    with Server(by_path({MODELS: models("m"), COMPLETIONS: answer, CHAT: answer})) as server:
        found = find_out(server.url, endpoint=endpoint, stream=stream, extra={"temperature": 0})
        (body,) = bodies(server, found.path)
    assert found.endpoint == endpoint
    assert (body["stream"], body["temperature"]) == (stream, 0)
    assert ("stream_options" in body) is stream
    assert found.warnings == []


def refusing(status: str, *names: str, words: Callable[[list[str]], object]) -> Answering:
    """Takes no request with one of these fields."""

    def route(request: Request) -> bytes:
        unknown = [name for name in names if name in json.loads(request.body)]
        return said(words(unknown), status) if unknown else answer(request)

    return route


def test_422_unexpected_fields_as_transformers_serve_says_it() -> None:
    words = lambda names: {"detail": f"Unexpected fields in the request: {set(names)}"}  # noqa: E731
    route = refusing("422 Unprocessable Entity", "ignore_eos", "min_tokens", "stream_options", words=words)
    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        found = find_out(server.url)
        assert not {"ignore_eos", "min_tokens", "stream_options"} & set(bodies(server)[-1])
    sent = found.dialect.spell(7, stream=True)
    assert not {"ignore_eos", "min_tokens", "stream_options"} & set(sent)
    assert json.loads(sent["generation_config"]) == {"eos_token_id": -1}  # it has a way of its own to force the length
    assert found.dialect.length_forced


def test_400_names_one_field_and_only_that_is_left_out() -> None:
    words = lambda names: {"error": {"message": f"{names[0]} is not supported", "code": 400}}  # noqa: E731
    with Server(
        by_path({MODELS: models("m"), COMPLETIONS: refusing("400 Bad Request", "min_tokens", words=words)})
    ) as server:
        found = find_out(server.url)
    sent = found.dialect.spell(7, stream=True)
    assert "min_tokens" not in sent
    assert sent["ignore_eos"] is True
    assert found.dialect.length_forced
    assert "The server refuses min_tokens: sent without from now on." in found.warnings


def test_400_that_names_nothing_walks_down_to_the_plainest() -> None:
    def route(request: Request) -> bytes:
        plain = set(json.loads(request.body)) <= {"model", "prompt", "max_tokens", "stream"}
        return answer(request) if plain else said({"error": "bad request"}, "400 Bad Request")

    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        found = find_out(server.url)
    assert found.dialect.fields == {}
    assert "The server has no way to force the output length: answers may be shorter than asked." in found.warnings


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Entity", "500 Internal Server Error"])
def test_a_small_vocabulary_refuses_ids(status: str) -> None:
    def route(request: Request) -> bytes:
        prompt = json.loads(request.body)["prompt"]
        high = isinstance(prompt, list) and max(prompt) >= 10_000
        return said({"error": {"message": "Token id is out of vocabulary"}}, status) if high else answer(request)

    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        found = find_out(server.url)
    assert found.vocabulary == 8_000
    assert found.dialect.length_forced


def test_ids_refused_inside_a_stream_that_began_well() -> None:
    """vLLM 0.32: status 200, and the first event is the error."""
    refusal = b'data: {"error": {"message": "Token id 29999 is out of vocabulary"}}\n\ndata: [DONE]\n\n'

    def route(request: Request) -> bytes:
        prompt = json.loads(request.body)["prompt"]
        high = isinstance(prompt, list) and max(prompt) >= 4_000
        return http(refusal, content_type="text/event-stream") if high else answer(request)

    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        assert find_out(server.url).vocabulary == 2_000


def test_a_server_that_takes_text_only() -> None:
    def route(request: Request) -> bytes:
        ids = isinstance(json.loads(request.body)["prompt"], list)
        return said({"detail": "prompt: Input should be a valid string"}, "422 No") if ids else answer(request)

    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        assert find_out(server.url).vocabulary == 0


@pytest.mark.parametrize(("counted", "vocabulary", "overhead"), [(9, 30_000, 1), (40, 0, 32), (2, 0, -6)])
def test_what_the_server_counts_for_eight_ids(counted: int, vocabulary: int, overhead: int) -> None:
    """One more is a BOS; anything else means that it took the ids for text."""
    route = lambda request: answer(request, prompt_tokens=counted)  # noqa: E731
    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        found = find_out(server.url)
    assert (found.vocabulary, found.id_overhead) == (vocabulary, overhead)


def test_a_server_that_does_not_count() -> None:
    with Server(by_path({MODELS: models("m"), COMPLETIONS: lambda request: answer(request, usage=False)})) as server:
        found = find_out(server.url)
    assert not found.says_usage
    (warning,) = [each for each in found.warnings if "does not say how many tokens" in each]
    assert warning.endswith("an answer that ends for its length is counted as asked, any other by its events.")
    assert not found.shares_events
    assert found.asks_lengths({"temperature": 0})
    assert not found.asks_lengths({"max_tokens": 5})


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_does_not_count_and_sends_several_tokens_in_an_event(stream: bool) -> None:
    route = lambda request: answer(request, usage=False, tokens=2)  # noqa: E731
    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        assert find_out(server.url, stream=stream).shares_events


def test_a_server_that_stops_early_is_warned_about() -> None:
    with Server(by_path({MODELS: models("m"), COMPLETIONS: lambda request: answer(request, tokens=2)})) as server:
        assert "Asked for 4 output tokens, got 2." in find_out(server.url).warnings


def test_chat_only() -> None:
    with Server(by_path({MODELS: models("m"), CHAT: answer})) as server:
        found = find_out(server.url)
    assert (found.endpoint, found.vocabulary, found.warnings) == ("chat", 0, [])


def test_neither_endpoint() -> None:
    with Server(by_path({MODELS: models("m")})) as server:
        error = refused(server.url)
    assert "/v1/chat/completions" in str(error)


@pytest.mark.parametrize("endpoint", ["auto", "chat"])
def test_nothing_there_but_a_404(endpoint: str) -> None:
    """That is no word about the model."""
    with Server(by_path({"/": answer})) as server:
        error = refused(server.url, model="m", endpoint=endpoint)
    assert "chat/completions (HTTP 404)" in str(error)
    assert "--base-url" in error.hint


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Oops", "301 Moved"])
def test_a_list_of_models_with_another_status(status: str) -> None:
    with Server(by_path({MODELS: lambda _: said({"error": "no."}, status)})) as server:
        assert f"/v1/models fails with HTTP {status[:3]}" in str(refused(server.url))


def test_a_redirect_is_told_not_followed() -> None:
    """The load would not follow it."""
    moved = b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere:8443/v1/models\r\nContent-Length: 0\r\n\r\n"
    with Server(by_path({MODELS: lambda _: moved})) as server:
        error = refused(server.url)
    assert str(error).endswith("/v1/models redirects to https://elsewhere:8443/v1/models (HTTP 301).")
    assert "--base-url" in error.hint


def test_no_list_of_models() -> None:
    with Server(by_path({COMPLETIONS: answer})) as server:
        assert "does not say which model it serves" in str(refused(server.url))
        assert find_out(server.url, model="m").model == "m"
        assert bodies(server)[-1]["model"] == "m"


@pytest.mark.parametrize(
    "content", [b"", b"<html><title>502 Bad Gateway</title>", b'{"error": {"message": "Loading."}}']
)
def test_a_list_of_models_that_fails(content: bytes) -> None:
    """It is not that the server does not say: it says that it cannot."""
    with Server(by_path({MODELS: lambda _: http(content, "502 Bad Gateway"), COMPLETIONS: answer})) as server:
        error = refused(server.url)
        assert "/v1/models fails with HTTP 502" in str(error)
        assert "still loading" in error.hint
        assert find_out(server.url, model="m").model == "m"


def test_several_models() -> None:
    with Server(by_path({MODELS: models("a", "b"), COMPLETIONS: answer})) as server:
        error = refused(server.url)
        assert str(error) == f"127.0.0.1:{server.port} serves several models: a, b."
        assert "--model" in error.hint
        assert find_out(server.url, model="b").model == "b"


def test_a_model_that_is_not_there() -> None:
    def route(request: Request) -> bytes:
        return said({"error": {"message": "The model `x` does not exist."}}, "404 Not Found")

    with Server(by_path({MODELS: models("a"), COMPLETIONS: route, CHAT: route})) as server:
        error = refused(server.url, model="x")
    assert "refuses the model 'x'" in str(error)
    assert error.hint == "It serves a; choose with --model."


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
@pytest.mark.parametrize("path", [MODELS, COMPLETIONS])
def test_a_key_is_wanted(status: str, path: str) -> None:
    routes = {MODELS: models("m"), COMPLETIONS: answer, path: lambda _: said({"error": "Invalid API key"}, status)}
    with Server(by_path(routes)) as server:
        error = refused(server.url)
    assert "wants an API key" in str(error)
    assert "--api-key" in error.hint


def test_a_web_page() -> None:
    page = http(b"<!doctype html><html><title>Welcome to\n nginx</title></html>", content_type="text/html")
    with Server(answering(page)) as server:
        error = refused(server.url)
        assert "an HTML page: Welcome to nginx" in str(error)
        assert "not with JSON" in str(error)
    with Server(by_path({MODELS: models("m"), COMPLETIONS: lambda _: page})) as server:
        assert "not as an OpenAI server" in str(refused(server.url))


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"7", b'{"data": 7}', b'{"data": [7, null, {"id": null}]}', b"[" * 600]
)
def test_a_list_of_models_that_is_none(content: bytes) -> None:
    with Server(by_path({MODELS: lambda _: http(content), COMPLETIONS: answer})) as server:
        refused(server.url)


@pytest.mark.parametrize("content", [b"null", b"[]", b"{}", b'{"choices": 7}', b"", b"\xff\xfe", b"[" * 2000])
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_none(content: bytes, stream: bool) -> None:
    with Server(by_path({MODELS: models("m"), COMPLETIONS: lambda _: http(content)})) as server:
        refused(server.url, stream=stream)


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b""])
def test_bytes_that_are_not_http(sent: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.write(sent)

    with Server(script) as server:
        assert "answers, but not with HTTP" in str(refused(server.url))


def test_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert str(refused(f"http://127.0.0.1:{port}")) == f"Nothing listens at 127.0.0.1:{port} (connection refused)."


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert str(refused("http://nowhere.invalid:8000")) == "The host 'nowhere.invalid' is not known."
    with pytest.raises(TargetError, match="is not known"):
        asker("http://nowhere.invalid:8000").address()


def test_the_address_is_the_one_that_takes_connections() -> None:
    with Server(answering(b"")) as server:
        assert asker(f"localhost:{server.port}").address() == (int(socket.AF_INET), "127.0.0.1", server.port)


def test_calibration_by_the_servers_own_count() -> None:
    route = lambda request: answer(request, prompt_tokens=3 + 2 * len(json.loads(request.body)["prompt"].split()))  # noqa: E731
    with Server(by_path({MODELS: models("m"), COMPLETIONS: route})) as server:
        found = find_out(server.url, may_send_ids=False)
        assert found.vocabulary == 0
        measured = measure_words(asker(server.url), found, lambda _, words: " ".join(["w"] * words))
    assert measured == [(8, 19), (32, 67), (96, 195)]


@pytest.mark.parametrize(
    ("field", "reply"), [("prompt", {"count": 3, "tokens": [1, 2, 3]}), ("content", {"tokens": [1, 2, 3]})]
)
def test_tokenize_in_either_spelling(field: str, reply: dict[str, Any]) -> None:
    def route(request: Request) -> bytes:
        return said(reply) if field in json.loads(request.body) else said({"tokens": []})

    with Server(by_path({MODELS: models("m"), COMPLETIONS: answer, "/tokenize": route})) as server:
        count = tokenize_count(asker(server.url), find_out(server.url))
        assert count is not None
        assert count("x y z") == 3


@pytest.mark.parametrize("reply", [said({}, "404 Not Found"), said([1]), http(b"<html>"), said({"count": None})])
def test_no_tokenize(reply: bytes) -> None:
    with Server(by_path({MODELS: models("m"), COMPLETIONS: answer, "/tokenize": lambda _: reply})) as server:
        assert tokenize_count(asker(server.url), find_out(server.url)) is None
