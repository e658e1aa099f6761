"""A run disables the garbage collector, so what it throws away must fall apart by itself."""

import gc
import socket

from loadgen.client.connection import Connection
from loadgen.client.flight import Flight
from loadgen.exchange import Outcome


class Nobody:
    """An owner that wants nothing."""

    def want_write(self, connection: Connection, wanted: bool) -> None: ...
    def read_again(self, connection: Connection) -> None: ...
    def finished(self, connection: Connection, flight: Flight) -> None: ...
    def broken(self, connection: Connection, flight: Flight | None, outcome: Outcome, detail: str) -> None: ...


def connections() -> int:
    return sum(type(each) is Connection for each in gc.get_objects())


def test_a_closed_connection_needs_no_collector() -> None:
    gc.collect()
    before = connections()
    gc.disable()
    try:
        for number in range(5):
            ours, theirs = socket.socketpair()
            connection = Connection(ours, number, Nobody())
            connection.connected = True
            connection.carry(Flight(number, 0, b"GET / HTTP/1.1\r\n\r\n"))
            theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.on_readable()
            assert connections() == before + 1
            connection.close()
            theirs.close()
            del connection

            assert connections() == before
    finally:
        gc.enable()
