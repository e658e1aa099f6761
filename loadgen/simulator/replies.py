"""HTTP answers with the headers of a style: whole ones, streams of which only the head is made here, and their pings.

Apart from the server because nothing here knows an engine or a queue. No JSON is made here; see wire.py.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import web

from loadgen.simulator.protocol import Refusal
from loadgen.simulator.styles.style import Style
from loadgen.simulator.wire import chunks


class EventStream(web.StreamResponse):
    """A chunked answer of which aiohttp writes only the headers; the choices write every chunk, the last one too."""

    def __init__(self, style: Style, request_id: str) -> None:
        headers = {"Content-Type": style.stream_type} | dict(style.headers) | dict(style.stream_headers)
        super().__init__(headers=headers | _named(style, request_id))
        self.enable_chunked_encoding()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: the end went out with the last token."""


def reply(style: Style, body: bytes, request_id: str, status: int = 200, content_type: str = "") -> web.Response:
    """An answer in one piece; `content_type` is the style's JSON unless said."""
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and content_type.startswith("text/plain"):
        # Nobody caught it in there: the outermost layer answers, and hangs up.
        fault = web.Response(status=status, body=body, headers={"Content-Type": content_type} | dict(style.headers[:1]))
        fault.force_close()
        return fault
    headers = {"Content-Type": content_type or style.json_type} if body else {}
    return web.Response(
        status=status, body=body or None, headers=headers | dict(style.headers) | _named(style, request_id)
    )


def refuse(style: Style, refusal: Refusal, request_id: str) -> web.Response:
    """A refusal; some servers close the connection after it."""
    answer = reply(style, refusal.body, request_id, refusal.status, refusal.content_type)
    if style.closes:
        answer.headers.pop("Keep-Alive", None)
        answer.force_close()
    return answer


def _named(style: Style, request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id} if style.request_id else {}


class Pings:
    """Comments in a stream, every `period_s`, until `stop`; `progress()` counts the tokens that were said."""

    def __init__(
        self, style: Style, period_s: float, write: Callable[[bytes], None], progress: Callable[[], int]
    ) -> None:
        self._style = style
        self._period_s = period_s
        self._write = write
        self._progress = progress
        self._timer = asyncio.get_running_loop().call_later(period_s, self._ping, 0)

    def _ping(self, seen: int) -> None:
        said = self._progress()
        if said == seen or not self._style.ping_silent:
            now = datetime.now(UTC).isoformat(" ")
            self._write(chunks([self._style.ping.replace(b"%(now)b", now.encode())], glued=False))
        self._timer = asyncio.get_running_loop().call_later(self._period_s, self._ping, said)

    def stop(self) -> None:
        self._timer.cancel()
