"""The rim: HTTP in, an engine driven in real time, bytes out. Everything that decides anything is behind it.

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
from loadgen.simulator.answer import Answer, Outlet, Tally
from loadgen.simulator.counters import metrics_text
from loadgen.simulator.engine import Engine
from loadgen.simulator.front_end import FrontEnd
from loadgen.simulator.protocol import Refusal, read_ask, read_body, read_token_ids
from loadgen.simulator.sequence import State
from loadgen.units import NS_PER_MS

_BODY_BYTES_MAX = 64 << 20
_IDLE_S = 75.0
_CLOSE_S = 1.0  # for requests that were cut off to be logged
_NO_LOG: Any = None  # aiohttp takes None for "no access log", though its types do not say so


class StampingProtocol(web.RequestHandler):
    """aiohttp's connection, which also remembers when it last read something."""

    __slots__ = ("received_ns",)

    def data_received(self, data: bytes) -> None:
        self.received_ns = time.monotonic_ns()
        super().data_received(data)


class EventStream(web.StreamResponse):
    """A chunked answer of which aiohttp writes only the headers; the choices write every chunk, the last one too."""

    def __init__(self) -> None:
        super().__init__(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        self.enable_chunked_encoding()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: the end went out with the last token."""


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
    ) -> None:
        self._engine = engine
        self._models = models
        self._max_model_len = max_model_len
        self._random = random.Random(seed)
        self._eos_probability = eos_probability
        self._authorization = f"Bearer {api_key}".encode() if api_key else None
        self._vocabulary = vocabulary
        self._log = log
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
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._metrics,
            ("POST", "/tokenize"): self._tokenize,
        }

    def new_connection(self) -> asyncio.Protocol:
        """The protocol factory for `loop.create_server`."""
        return StampingProtocol(self._server, loop=self._loop, access_log=_NO_LOG, keepalive_timeout=_IDLE_S)

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
        route = self._routes.get((request.method, request.path))
        try:
            if route is None:
                known = any(path == request.path for _, path in self._routes)
                status, detail = (405, "Method Not Allowed") if known else (404, "Not Found")
                return web.json_response({"detail": detail}, status=status)
            if self._authorization is not None and request.path.startswith("/v1/"):
                given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
                if not hmac.compare_digest(given, self._authorization):
                    return web.json_response({"error": "Unauthorized"}, status=401)
            return await route(request)
        except Refusal as refusal:
            return web.Response(status=refusal.status, body=refusal.body, content_type="application/json")

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _completion(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    async def _generate(self, request: web.BaseRequest, chat: bool) -> web.StreamResponse:
        raw = await request.read()
        protocol, transport = request.protocol, request.transport
        if transport is None:
            raise ConnectionResetError("the client left before it was answered")
        assert isinstance(protocol, StampingProtocol)
        received_ns = await self._front_end.serve(protocol.received_ns)
        body = read_body(raw, self._models)
        ask = read_ask(body, chat, self._max_model_len)
        if not self._engine.accepts(len(ask.prompt_tokens)):
            self._tally.counters.refusals += 1
            sentence = f"The queue is full: {self._engine.waiting} sequences wait already."
            raise Refusal(429, sentence, "TooManyRequestsError")
        if ask.stream and request.version < HttpVersion11:
            raise Refusal(400, "A stream needs HTTP/1.1.", param="stream")
        request_id = request.headers.get("X-Request-Id") or f"{self._random.getrandbits(64):016x}"
        model = body.model or self._models[0]
        stream = EventStream() if ask.stream else None
        if stream is not None:
            await stream.prepare(request)  # the headers leave at once, before the prompt is computed
        answer = Answer(
            ask,
            request_id,
            model,
            received_ns,
            self._tally,
            self._end_early,
            Outlet(transport) if stream is not None else None,
            self._log is not None,
        )
        sequences = [choice.sequence for choice in answer.choices]
        self._engine.submit(sequences)
        self._alarm.set(self._engine.next_due_ns)
        try:
            await answer.done
        finally:
            self._end(answer, request_id)
        return stream or web.Response(body=answer.body(), content_type="application/json")

    def _end(self, answer: Answer, request_id: str) -> None:
        """Free what an aborted answer still holds, and log the answer's true times."""
        now_ns = time.monotonic_ns()
        end = answer.choices[-1].finish_reason
        for choice in answer.choices:
            if choice.sequence.state is not State.FINISHED:
                end = "abort"
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

    async def _list_models(self, _: web.BaseRequest) -> web.StreamResponse:
        common = {"object": "model", "created": self._started, "owned_by": "loadgen", "root": self._models[0]}
        common |= {"parent": None, "max_model_len": self._max_model_len}
        return web.json_response({"object": "list", "data": [{"id": name} | common for name in self._models]})

    async def _health(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async def _metrics(self, _: web.BaseRequest) -> web.StreamResponse:
        await self._front_end.pause()
        counters, lateness = self._tally.counters, self._tally.lateness
        text = metrics_text(counters, self._engine, lateness, self._models[0], self._max_num_seqs)
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _tokenize(self, request: web.BaseRequest) -> web.StreamResponse:
        tokens = read_token_ids(read_body(await request.read(), self._models), self._vocabulary)
        return web.json_response({"count": len(tokens), "max_model_len": self._max_model_len, "tokens": tokens})
