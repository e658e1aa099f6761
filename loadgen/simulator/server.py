"""The rim: HTTP in, an engine driven in real time, bytes out. Everything that decides anything is behind it.

Whom it plays stands in a `Style`; here it is only asked which paths there are and what a connection goes through.

One alarm wakes the loop once per step for all sequences. Requests carry the time when their last byte was read, stamped
first thing in the read callback; the engine counts from that, so a busy loop is late but never wrong.
"""

import asyncio
import hmac
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

from aiohttp import web
from aiohttp.http import HttpVersion11

from loadgen.simulator.alarm import new_alarm
from loadgen.simulator.answer import Answer, Manner, Outlet, Tally
from loadgen.simulator.engine import Engine
from loadgen.simulator.front_end import FrontEnd
from loadgen.simulator.listing import models_answer
from loadgen.simulator.metrics import METRICS
from loadgen.simulator.prefix_cache import prefix_keys
from loadgen.simulator.protocol import Refusal, read_ask, read_body, read_token_ids
from loadgen.simulator.replies import EventStream, Pings, refuse, reply
from loadgen.simulator.sequence import State
from loadgen.simulator.styles import STYLES
from loadgen.simulator.styles.style import Style
from loadgen.simulator.text import token_ids
from loadgen.simulator.wire import END, make_id
from loadgen.units import NS_PER_MS

_BODY_BYTES_MAX = 64 << 20
_CLOSE_S = 1.0  # for requests that were cut off to be logged
_NO_LOG: Any = None  # aiohttp takes None for "no access log", though its types do not say so


class StampingProtocol(web.RequestHandler):
    """aiohttp's connection, which also remembers when it last read something."""

    __slots__ = ("received_ns",)

    def data_received(self, data: bytes) -> None:
        self.received_ns = time.monotonic_ns()
        super().data_received(data)


class Simulator:
    """The server, apart from the socket that it listens on."""

    def __init__(
        self,
        engine: Engine,
        models: list[str],
        max_model_len: int,
        seed: int = 0,
        eos_probability: float = 0.0,
        api_key: str | None = None,
        vocabulary: int = 32000,
        log: TextIO | None = None,
        front_end: FrontEnd | None = None,
        max_num_seqs: int = 0,
        style: Style = STYLES["vllm"],
        owner: str | None = None,
        tokens_per_event: int = 1,
        ping_s: float | None = None,
    ) -> None:
        """`owner` of the models and `ping_s` between two comments: the style's own where None."""
        self._engine = engine
        self._models = models
        self._max_model_len = max_model_len
        self._random = random.Random(seed)
        self._eos_probability = eos_probability
        self._authorization = f"Bearer {api_key}".encode() if api_key else None
        self._vocabulary = vocabulary
        self._log = log
        self._style = style
        self._owner = owner or style.owner
        self._ping_s = style.ping_s if ping_s is None else ping_s
        self._manner = Manner(style, self._end_early, self._silent, tokens_per_event, log is not None)
        self._front_end = front_end or FrontEnd()
        self._max_num_seqs = max_num_seqs
        self._tally = Tally()
        self._warned = False
        self._started = int(time.time())
        self._loop = asyncio.get_running_loop()
        self._alarm = new_alarm(self._loop, self._ring)
        self._second = self._loop.call_later(1, self._turn_second)
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,  # a client that goes away frees its sequences
            request_factory=self._request,
        )
        self._routes: dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._completion,
            ("GET", "/v1/models"): self._list_models,
            **{("GET", path): self._metrics for path in style.metrics},
        }
        if style.health is not None:
            self._routes["GET", "/health"] = self._health
        if style.props:
            self._routes["GET", "/props"] = self._props
        if style.tokenize:
            self._routes["POST", "/tokenize"] = self._tokenize

    def new_connection(self) -> asyncio.Protocol:
        """The protocol factory for `loop.create_server`."""
        return StampingProtocol(self._server, loop=self._loop, access_log=_NO_LOG, keepalive_timeout=self._style.idle_s)

    async def close(self) -> None:
        """Drop every connection, log what was cut off, stop the clockwork."""
        self._second.cancel()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self._server.shutdown(_CLOSE_S)
        self._alarm.close()

    # -- the clockwork --------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        """Write what is due by now, then let the loop read: a simulator that is late still accepts requests."""
        engine = self._engine
        now_ns = time.monotonic_ns()
        while (due_ns := engine.next_due_ns) is not None and due_ns <= now_ns:
            for sequence in engine.advance():
                sequence.sink(due_ns)
        self._alarm.set(engine.next_due_ns)

    def _turn_second(self) -> None:
        self._second = self._loop.call_later(1, self._turn_second)
        lateness = self._tally.lateness
        if not self._warned and lateness.is_late(self._engine.step_ns):
            self._warned = True
            late_ms = lateness.window()["0.99"] / NS_PER_MS
            step_ms = self._engine.step_ns / NS_PER_MS
            sentence = f"The simulator is late: p99 of the last 10 s is {late_ms:.1f} ms, a step is {step_ms:.1f} ms."
            sys.stderr.write(f"{sentence} Its latencies are its own now; lower the load or give it a core.\n")
            sys.stderr.flush()
        lateness.turn_second()
        if self._log is not None:
            self._log.flush()

    # -- HTTP -----------------------------------------------------------------------------------------------------

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        """aiohttp's request, with room for a long prompt in token ids."""
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=_BODY_BYTES_MAX)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._route(request)(request)
        except Refusal as refusal:
            return refuse(self._style, refusal, self._header_id(request.headers.get("X-Request-Id")))

    def _route(self, request: web.BaseRequest) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """What answers a request. Raises Refusal."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            if any(path == request.path for _, path in self._routes):
                raise Refusal(self._style, "method", "Method Not Allowed")
            raise Refusal(self._style, "path", "Not Found")
        if self._authorization is not None and request.path.startswith("/v1/"):
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, self._authorization):
                raise Refusal(self._style, "key", "Unauthorized")
        return route

    def _reply(self, body: bytes, request_id: str | None = None, status: int = 200, kind: str = "") -> web.Response:
        return reply(self._style, body, self._header_id(request_id), status, kind)

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _completion(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    async def _generate(self, request: web.BaseRequest, chat: bool) -> web.StreamResponse:
        raw = await request.read()
        protocol, transport, style = request.protocol, request.transport, self._style
        if transport is None:
            raise ConnectionResetError("the client left before it was answered")
        assert isinstance(protocol, StampingProtocol)
        received_ns = await self._front_end.serve(protocol.received_ns)
        body = read_body(raw, self._models, style, chat)
        request_id = request.headers.get("X-Request-Id") or make_id(style.id_form, self._random)
        try:
            ask = read_ask(body, chat, self._max_model_len, style)
        except Refusal as refusal:
            if refusal.kind == "context" and body.stream and style.too_long != "refused":
                return await self._say_nothing(request, request_id)
            raise
        if not self._engine.accepts(len(ask.prompt_tokens)):
            self._tally.counters.refusals += 1
            raise Refusal(style, "full", f"The queue is full: {self._engine.waiting} sequences wait already.")
        if ask.stream and request.version < HttpVersion11:
            raise Refusal(style, "invalid", "A stream needs HTTP/1.1.", param="stream")
        known = body.model in self._models or (style.echoes_model and body.model)
        model = body.model if known and body.model else self._models[0]
        stream = EventStream(style, self._header_id(request_id)) if ask.stream else None
        if stream is not None:
            await stream.prepare(request)  # the headers leave at once, before the prompt is computed
        outlet = Outlet(transport) if stream is not None else None
        answer_id = style.spelling(chat=chat).id_prefix.decode() + request_id
        answer = Answer(ask, answer_id, model, received_ns, self._tally, self._manner, outlet)
        if outlet is not None:
            answer.open_stream()
        sequences = [choice.sequence for choice in answer.choices]
        if self._engine.prefix_cache is not None:
            keys = prefix_keys(body, chat)
            for place, sequence in enumerate(sequences):
                sequence.prefix = keys[place * len(keys) // len(sequences)]  # the copies of a prompt stand together
        self._engine.submit(sequences)
        self._alarm.set(self._engine.next_due_ns)
        pings = None
        if outlet is not None and self._ping_s and style.ping:
            pings = Pings(style, self._ping_s, outlet.write, lambda: answer.progress)
        try:
            await answer.done
        finally:
            if pings is not None:
                pings.stop()
            self._end(answer, request_id)
        if stream is None:
            return self._reply(answer.body(), request_id)
        if style.closes:
            transport.close()
        return stream

    async def _say_nothing(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """What some servers do with a prompt that is too long: a stream that is empty, or one that never begins."""
        stream = EventStream(self._style, self._header_id(request_id))
        await stream.prepare(request)
        if self._style.too_long == "silent":
            await self._loop.create_future()  # until the client leaves
        if request.transport is not None:
            request.transport.write(END)
            request.transport.close()
        return stream

    def _header_id(self, request_id: str | None) -> str:
        """What x-request-id says; drawn only where it is said and not known."""
        style = self._style
        if not style.request_id or (request_id and style.request_id == "id"):
            return request_id or ""
        return make_id("hex32", self._random)

    def _end(self, answer: Answer, request_id: str) -> None:
        """Free what an aborted answer still holds, where the server notices, and log the answer's true times."""
        now_ns = time.monotonic_ns()
        end = answer.choices[-1].finish_reason
        for choice in answer.choices:
            if choice.sequence.state is not State.FINISHED:
                end = "abort"
                if self._style.finishes:
                    continue
                self._engine.abort(choice.sequence, now_ns)
                self._tally.counters.ended["abort"] += 1
        self._alarm.set(self._engine.next_due_ns)
        if self._log is not None:
            line = {
                "rid": request_id,
                "received_ns": answer.received_ns,
                "due_ns": answer.due_ns,
                "written_ns": answer.written_ns,
                "input_tokens": answer.ask.input_tokens,
                "output_tokens": answer.output_tokens,
                "end": end,
            }
            self._log.write(json.dumps(line, separators=(",", ":")) + "\n")

    def _end_early(self, output_tokens: int, min_tokens: int) -> int:
        """At which token a choice stops: the last one, or where a seeded coin says so before it."""
        if self._eos_probability > 0:
            for token in range(max(min_tokens, 1), output_tokens):
                if self._random.random() < self._eos_probability:
                    return token
        return output_tokens

    def _silent(self, output_tokens: int) -> frozenset[int]:
        """At which tokens a stop was overruled, by the same coin."""
        if self._eos_probability <= 0:
            return frozenset()
        return frozenset(k for k in range(output_tokens) if self._random.random() < self._eos_probability)

    async def _list_models(self, request: web.BaseRequest) -> web.StreamResponse:
        status, body, kind = models_answer(
            self._style, self._models, self._owner, self._started, self._max_model_len, self._vocabulary
        )
        return self._reply(body, request.headers.get("X-Request-Id"), status, kind)

    async def _health(self, request: web.BaseRequest) -> web.StreamResponse:
        return self._reply(self._style.health or b"", request.headers.get("X-Request-Id"))

    async def _props(self, _: web.BaseRequest) -> web.StreamResponse:
        known: dict[bytes, bytes | int] = {b"context": self._max_model_len, b"slots": self._max_num_seqs}
        known[b"model"] = json.dumps(self._models[0]).encode()
        return self._reply(self._style.props % known)

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._front_end.pause()
        counters, lateness = self._tally.counters, self._tally.lateness
        expose = METRICS[self._style.metrics[request.path]]
        text, kind = expose(counters, self._engine, lateness, self._models[0], self._max_num_seqs)
        return self._reply(text.encode(), kind=kind)

    async def _tokenize(self, request: web.BaseRequest) -> web.StreamResponse:
        """vLLM's, or llama.cpp's, which knows `content` and counts nothing."""
        raw = await request.read()
        body = read_body(raw, self._models, self._style)
        if self._style.tokenize == "llama.cpp":
            tokens = token_ids(str(json.loads(raw).get("content", "")), self._vocabulary)
            return self._reply(json.dumps({"tokens": tokens}, separators=(",", ":")).encode())
        tokens = read_token_ids(body, self._vocabulary, self._style)
        counted = {"count": len(tokens), "max_model_len": self._max_model_len, "tokens": tokens}
        return self._reply(json.dumps(counted, separators=(",", ":")).encode())
