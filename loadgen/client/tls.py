"""TLS over the same stamped reads: the kernel stamps the encrypted bytes, an SSLObject turns them into HTTP.

Apart from `connection` so that the plain path has not one branch more.
"""

import socket
import ssl
import time

import httptools

from loadgen.client.connection import ANCILLARY_BYTES, READ_BYTES, Ancillary, Connection, Owner
from loadgen.exchange import Outcome


def tls_context(verify: bool) -> ssl.SSLContext:
    """The system's trust store, or none at all when the user asked for that."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class TlsConnection(Connection):
    """A Connection whose bytes pass through two memory buffers."""

    __slots__ = ("_decrypted", "_encrypted_in", "_encrypted_out", "_secure", "_waiting", "handshaken")

    def __init__(
        self, sock: socket.socket, number: int, owner: Owner, context: ssl.SSLContext, server_name: str
    ) -> None:
        super().__init__(sock, number, owner)
        self._encrypted_in, self._encrypted_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._secure = context.wrap_bio(self._encrypted_in, self._encrypted_out, server_hostname=server_name)
        self._waiting = memoryview(b"")  # encrypted bytes that the kernel has not taken yet
        self.handshaken = False
        self.on_readable = self._on_encrypted

    def flush(self) -> None:
        if not self.handshaken and not self._handshake():
            return
        if self._drain():
            super().flush()

    def _send(self, outgoing: memoryview) -> int:
        written = self._secure.write(outgoing)
        self._drain()
        return written

    def _handshake(self) -> bool:
        try:
            self._secure.do_handshake()
        except ssl.SSLWantReadError:
            self._drain()
            return False
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            self._owner.broken(self, self.flight, Outcome.CONNECT_ERROR, f"TLS: {reason}")
            return False
        self.handshaken = True
        self._drain()
        return True

    def _drain(self) -> bool:
        """Give encrypted bytes to the kernel; False while some are left."""
        pending = self._encrypted_out.read()
        if pending:
            self._waiting = memoryview(bytes(self._waiting) + pending)
        if self._waiting:
            try:
                self._waiting = self._waiting[self.sock.send(self._waiting) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._lost(error)
                return False
        self._owner.want_write(self, bool(self._waiting))
        return not self._waiting

    def _on_encrypted(self) -> None:
        try:
            data, ancillary, _, _ = self._recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except OSError as error:
            self._lost(error)
            return
        callback_ns = time.time_ns()
        if not data:
            self._end_of_stream(data)
            return
        if len(data) == READ_BYTES:
            self._owner.read_again(self)
        self._encrypted_in.write(data)
        if not self.handshaken:
            self.flush()
            if not self.handshaken:
                return
        plain = self._decrypt()
        if not plain:  # session tickets come after the handshake and are no data
            return
        if self.flight is None:
            self._end_of_stream(plain)
            return
        self._take(plain, ancillary, callback_ns)

    def _take(self, plain: bytes, ancillary: list[Ancillary], callback_ns: int) -> None:
        """As the plain path does it: stamp, append, feed."""
        tape = self.tape
        tape.callbacks_ns.append(callback_ns)
        if ancillary:
            tape.kernel_stamps.extend(ancillary[0][2])
        try:
            self._parser.feed_data(plain)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            tape.ends.append(len(tape.body))
            self._nonsense(plain, error)
            return
        tape.ends.append(len(tape.body))
        if self.complete:
            self._finish()

    def _decrypt(self) -> bytes:
        pieces = []
        try:
            while piece := self._secure.read(READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._lost(OSError(0, f"TLS: {error.reason}"))
        return b"".join(pieces)
