"""The proxy: every request goes to the upstream server and every byte of its answer comes back as it comes.

Nothing is changed but what belongs to a single connection (hop-by-hop headers, and 100 Continue, which each side
settles for itself). Recording is a look over the shoulder: references to the pieces and a stamp each; when the loop
falls behind it stops before the serving suffers.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from loadgen.capture.exchange import ABORTED, Exchange
from loadgen.capture.writer import HELD_BYTES_MAX, Writer
from loadgen.target import Target

BODY_BYTES_MAX = 16 << 20  # a larger request passes in pieces and is not recorded
ANSWER_BYTES_MAX = 16 << 20  # of one answer held; a longer one is recorded without its lengths
BAD_GATEWAY = 502
ATTEMPTS = 3  # on kept-alive connections that the upstream had closed meanwhile
BEAT_S, LATE_S, LATE_BEATS, PAUSE_S = 0.05, 0.02, 5, 1.0  # the loop late at so many beats on end: overload, one pause
_RECORDED = ("/chat/completions", "/completions")
_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host", "expect")
)
_SESSION_HEADERS = ("X-Session-Id", "X-Conversation-Id", "Session-Id")


class _Relayed(web.StreamResponse):
    """An answer of the upstream's; `given` are the names of its headers."""

    given: frozenset[str]


class Proxy:
    """Makes the aiohttp application; `passed` counts requests, `overloaded` says whether recording pauses."""

    def __init__(self, upstream: Target, writer: Writer, session_header: str | None = None) -> None:
        self._upstream, self._writer = upstream, writer
        self._session_headers = (session_header,) if session_header else _SESSION_HEADERS
        self._paused_until = 0.0
        self._client: aiohttp.ClientSession
        self.passed = 0

    def application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._pass)
        app.on_response_prepare.append(_only_upstreams_headers)
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        # Servers close idle connections after 5 s and more: letting go earlier avoids most races.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
        self._client = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            read_bufsize=1 << 18,
        )
        beat = asyncio.create_task(self._watch())
        yield
        beat.cancel()
        await self._client.close()

    async def _watch(self) -> None:
        late = 0
        while True:
            asked = time.monotonic()
            await asyncio.sleep(BEAT_S)
            late = late + 1 if time.monotonic() - asked - BEAT_S > LATE_S else 0
            if late >= LATE_BEATS:  # once is a hiccup of the machine, and no recording would have helped
                self.fall_behind()

    def fall_behind(self) -> None:
        """Record no new request for a while."""
        self._paused_until = time.monotonic() + PAUSE_S

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.passed += 1
        arrival_ns = time.monotonic_ns()
        small = (request.content_length or 0) <= BODY_BYTES_MAX and "Transfer-Encoding" not in request.headers
        body: Any = None
        if request.body_exists:
            body = await request.content.read() if small else request.content.iter_any()
        exchange = self._exchange(request, arrival_ns, body)
        try:
            answer = await self._ask(request, body)
        except asyncio.CancelledError:  # the client went: so does its request
            self._done(exchange, ABORTED)
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._done(exchange, BAD_GATEWAY)
            return web.json_response(
                {"error": {"message": f"loadgen capture: the upstream server does not answer: {error}"}},
                status=BAD_GATEWAY,
            )
        try:
            return await self._give_back(request, answer, exchange)
        except BaseException:
            answer.close()
            self._done(exchange, ABORTED)
            raise
        finally:
            answer.release()

    async def _ask(self, request: web.Request, body: Any) -> aiohttp.ClientResponse:
        """A request is sent again only when no byte of an answer had come and its body is still at hand."""
        headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in _HOP)
        url = self._upstream.root + request.rel_url.raw_path_qs
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._client.request(
                    request.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
                )
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                if attempt == ATTEMPTS or not (body is None or isinstance(body, bytes)):
                    raise
        raise AssertionError

    async def _give_back(
        self, request: web.Request, answer: aiohttp.ClientResponse, exchange: Exchange | None
    ) -> web.StreamResponse:
        headers = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOP)
        response = _Relayed(status=answer.status, reason=answer.reason, headers=headers)
        response.given = frozenset(name.lower() for name in headers)
        await response.prepare(request)
        try:
            async for piece in answer.content.iter_any():
                came_ns = time.monotonic_ns()
                await response.write(piece)
                if exchange is not None:
                    self._hold(exchange, piece, came_ns)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
            # Whoever broke off, the other end must see a broken answer too, not a complete one.
            answer.close()
            if request.transport is not None:
                request.transport.close()
            self._done(exchange, BAD_GATEWAY if isinstance(error, aiohttp.ClientPayloadError) else ABORTED)
            return response
        await response.write_eof()
        self._done(exchange, answer.status)
        return response

    def _exchange(self, request: web.Request, arrival_ns: int, body: Any) -> Exchange | None:
        """What to record this request in; None when it is none of ours, or cannot be recorded now."""
        if request.method != "POST" or not request.path.endswith(_RECORDED):
            return None
        if not isinstance(body, bytes):
            self._writer.miss("a body too large")
        elif time.monotonic() < self._paused_until:
            self._writer.miss("this machine was overloaded")
        elif self._writer.held_bytes > HELD_BYTES_MAX:
            self._writer.miss("too much was held")
        else:
            self._writer.held_bytes += len(body)
            named = next((request.headers[name] for name in self._session_headers if name in request.headers), None)
            return Exchange(arrival_ns, body, named)
        return None

    def _hold(self, exchange: Exchange, piece: bytes, came_ns: int) -> None:
        if not exchange.whole:
            return
        exchange.answer.append(piece)
        exchange.stamps_ns.append(came_ns)
        exchange.answer_bytes += len(piece)
        self._writer.held_bytes += len(piece)
        if exchange.answer_bytes > ANSWER_BYTES_MAX or self._writer.held_bytes > HELD_BYTES_MAX:
            self._writer.held_bytes -= exchange.answer_bytes
            exchange.forget_answer()

    def _done(self, exchange: Exchange | None, status: int) -> None:
        if exchange is not None and not exchange.end_ns:
            exchange.status, exchange.end_ns = status, time.monotonic_ns()
            self._writer.offer(exchange)


async def _only_upstreams_headers(_: web.Request, response: web.StreamResponse) -> None:
    """What aiohttp adds of its own is taken away again; an answer of ours has no mark and keeps them."""
    if isinstance(response, _Relayed):
        for name in ("Server", "Date", "Content-Type"):
            if name.lower() not in response.given:
                response.headers.popall(name, None)
