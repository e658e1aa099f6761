"""One plain HTTP question before or beside a run, and every way in which it can go wrong, as a sentence.

Standard library only, so that asking costs no import; the load itself never goes through here.
"""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from typing import Any

from loadgen.errors import TargetError
from loadgen.target import Target

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0  # a first request may compile kernels


@dataclass(frozen=True, slots=True)
class Asker:
    """How to ask: base URL, headers (with the key), trust, proxy."""

    target: Target
    headers: dict[str, str]
    verify_tls: bool = True
    proxy: str = ""

    def ask(self, path: str, body: bytes | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[int, bytes]:
        """(status, body) of a GET, or of a POST when there is a body. Raises TargetError when no HTTP answer came."""
        request = urllib.request.Request(self.target.url(path), body, self.headers)  # noqa: S310 (http(s) only, see Target)
        proxies = {self.target.scheme: self.proxy} if self.proxy else {}
        scheme: urllib.request.BaseHandler = urllib.request.HTTPHandler()
        if "https" in (self.target.scheme, self.proxy.partition(":")[0]):
            scheme = urllib.request.HTTPSHandler(context=tls_trust(self.verify_tls))
        manners = urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler(), _Stay()
        opener = urllib.request.OpenerDirector()  # `build_opener` adds TLS, and reads the trust store for nothing
        for handler in (urllib.request.ProxyHandler(proxies), scheme, *manners):
            opener.add_handler(handler)
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return answer.status, answer.read(64 << 20)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            raise self._explain(error) from None

    def address(self) -> tuple[int, str, int]:
        """(family, host, port) of the first address of the server that takes a connection. Raises TargetError."""
        try:
            found = socket.getaddrinfo(self.target.host, self.target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self._explain(error) from None
        problem: OSError = OSError("no address")
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.settimeout(CONNECT_TIMEOUT_S)
                try:
                    probe.connect(address)
                except OSError as error:
                    problem = error
                else:
                    return int(family), str(address[0]), int(address[1])
        raise self._explain(problem)

    def _explain(self, error: Exception) -> TargetError:
        """The sentence for what went wrong below HTTP."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        place = self.target.authority
        if isinstance(reason, ConnectionRefusedError):
            return TargetError(
                f"Nothing listens at {place} (connection refused).", "Is the server up, and is this its port?"
            )
        if isinstance(reason, socket.gaierror):
            return TargetError(f"The host '{self.target.host}' is not known.", "Check the spelling of --base-url.")
        if isinstance(reason, TimeoutError):
            return TargetError(
                f"{place} does not answer (timed out).", "Is a firewall in the way, or is the server still loading?"
            )
        if isinstance(reason, ssl.SSLCertVerificationError):
            return TargetError(
                f"The certificate of {place} is not trusted: {reason.verify_message}.",
                "Use --insecure if you know this server.",
            )
        if isinstance(reason, ssl.SSLError):
            return TargetError(f"{place} does not speak TLS ({reason.reason}).", "Is it http:// rather than https://?")
        if isinstance(reason, (http.client.BadStatusLine, http.client.LineTooLong, ValueError)):
            start = str(reason).strip()[:60]
            return TargetError(
                f"{place} answers, but not with HTTP{f' ({start!r})' if start else ''}.",
                "Is this the port of the API server? With TLS the URL begins with https://.",
            )
        return TargetError(f"No answer from {place}: {reason}.", "Is the server up, and is this its port?")


class _Stay(urllib.request.HTTPRedirectHandler):
    """The load follows no redirect, so a question must not hide one."""

    def redirect_request(self, req: urllib.request.Request, *told: Any, **_: Any) -> None:
        answer, code, _, _, to = told
        answer.close()
        raise TargetError(
            f"{req.full_url} redirects to {to} (HTTP {code}).",
            "Give --base-url the address that it redirects to: the load follows no redirect.",
        )


@cache
def tls_trust(verify: bool) -> ssl.SSLContext:
    """The system's trust store, or none at all when the user asked for that. Read once: it costs 45 ms of CPU."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
