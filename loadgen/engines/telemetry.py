"""A second pair of eyes beside a run: once a second, what the server says of itself, how fast it says so, its GPUs.

How long the kernel of the server takes to accept a connection is the network; how long the answer to a small question
takes after that is the server's HTTP layer: two numbers that tell a busy front end from a busy engine. A server without
gauges is asked for its health instead, for these times alone. It must never hold up the run: a thread of its own, and a
question that fails is dropped.
"""

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable

from loadgen.engines.asking import Asker, tls_trust
from loadgen.engines.gauges import FACTS, SOURCES, Readings, read_fact
from loadgen.engines.gpu import Gpus, open_gpus
from loadgen.errors import TargetError

PERIOD_S = 1.0
TIMEOUT_S = 2.5  # a front end that takes longer is found by that alone, and more often
HEALTH = "/health"
CONNECT, ANSWER = "loadgen:connect_seconds", "loadgen:answer_seconds"
_OWN = "simulator:"
_LOCAL = ("localhost", "127.", "::1", "0.0.0.0")  # noqa: S104 (names to compare with)


class Scraper(threading.Thread):
    """Asks once a second until stopped; `readings` holds what has come, newest last, for the recorder to take."""

    def __init__(self, asker: Asker, gpus: Callable[[], Gpus | None] = open_gpus) -> None:
        super().__init__(daemon=True, name="loadgen-scraper")
        self._asker = asker
        self._open_gpus = gpus
        self._over = threading.Event()
        self._sources = list(SOURCES)
        self._facts: Readings = {}
        self._gpus: Gpus | None = None
        self.readings: queue.SimpleQueue[tuple[int, Readings]] = queue.SimpleQueue()

    def run(self) -> None:
        next_s = time.monotonic() + PERIOD_S / 2
        first = True
        while not self._over.wait(max(0.0, next_s - time.monotonic())):
            asked_ns = time.monotonic_ns()
            found, times = self._ask_all(first)
            if first and times:
                self._facts = self._ask_facts(found)
                if self._asker.target.host.startswith(_LOCAL) and not _is_ours(found):
                    self._gpus = self._open_gpus()
            first = first and not times
            found |= times | (self._facts if found else {})
            if self._gpus is not None:
                found |= self._gpus.readings()
            self.readings.put(((asked_ns + time.monotonic_ns()) // 2, found))
            next_s = max(next_s + PERIOD_S, time.monotonic())

    def _ask_all(self, first: bool) -> tuple[Readings, Readings]:
        """(gauges, how long it took to get them); the sources that are none are forgotten."""
        found: Readings = {}
        times: Readings = {}
        for source in list(self._sources):
            path, read = source
            try:
                status, body, times = ask_timed(self._asker, path)
                told = read(body) if status == 200 else None
            except MissedError as error:
                return found, error.times  # a saturated server may miss one
            except TargetError:
                return found, {}
            if told is not None:
                found |= told
            elif first:
                self._sources.remove(source)
        if not self._sources and not first:
            try:
                times = ask_timed(self._asker, HEALTH)[2]
            except MissedError as error:
                times = error.times
            except TargetError:
                times = {}
        return found, times

    def _ask_facts(self, found: Readings) -> Readings:
        for prefix, places in FACTS.items():
            if not any(name.startswith(prefix) for name in found) or _is_ours(found):
                continue
            for path, key, name in places:
                try:
                    status, body, _ = ask_timed(self._asker, path)
                except TargetError:
                    continue
                number = read_fact(body, key) if status == 200 else None
                if number is not None:
                    return {name: number}
        return {}

    def stop(self) -> None:
        self._over.set()


def _is_ours(found: Readings) -> bool:
    """The simulator: it tells everything at once, and no GPU of this machine works for it."""
    return any(name.startswith(_OWN) for name in found)


class MissedError(TargetError):
    """No answer in time; `times` are what was waited for, connection and answer, as far as it came."""

    def __init__(self, sentence: str, times: Readings) -> None:
        super().__init__(sentence)
        self.times = times


def ask_timed(asker: Asker, path: str) -> tuple[int, bytes, Readings]:
    """(status, body, times in seconds of the connection and of the answer after it) of a GET on a fresh connection.

    Raises TargetError when no HTTP answer came, MissedError when it did not come in time. Through a proxy, the
    connection is the proxy's and is not told.
    """
    began, connected = time.monotonic(), 0.0
    target = asker.target
    if asker.proxy:
        status, body = asker.ask(path, timeout_s=TIMEOUT_S)
        return status, body, {ANSWER: time.monotonic() - began}
    connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_S)
    try:
        sock = socket.create_connection((target.host, target.port), TIMEOUT_S)
        connected = time.monotonic()
        connection.sock = sock
        if target.scheme == "https":
            connection.sock = tls_trust(asker.verify_tls).wrap_socket(sock, server_hostname=target.host)
        kept = {name: value for name, value in asker.headers.items() if name.lower() != "content-type"}
        connection.request("GET", target.prefix + path, headers=kept | {"Host": target.authority})
        answer = connection.getresponse()
        body = answer.read(64 << 20)
        return answer.status, body, {CONNECT: connected - began, ANSWER: time.monotonic() - connected}
    except TimeoutError:
        spent = time.monotonic() - (connected or began)
        times = {CONNECT: connected - began, ANSWER: spent} if connected else {CONNECT: spent}
        raise MissedError(f"{target.authority} did not answer in {TIMEOUT_S:g} s.", times) from None
    except (OSError, http.client.HTTPException, ssl.SSLError, ValueError) as error:
        raise TargetError(f"No answer from {target.authority}: {error}.") from None
    finally:
        connection.close()
