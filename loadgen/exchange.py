"""One HTTP exchange as it leaves the client: the messages between the load process and the recorder.

They cross a socket as MessagePack with a length in front, so that client and recorder share types and no code.
All times are int64 ns on the run's clock (0 = start of the run, CLOCK_MONOTONIC).
"""

import struct
from enum import StrEnum
from typing import Final

import msgspec


class Outcome(StrEnum):
    """How an exchange ended; exactly one per request."""

    OK = "ok"
    HTTP_ERROR = "http_error"  # a status of 400 or more
    STREAM_ERROR = "stream_error"  # an error object inside a 200 answer
    TRUNCATED = "truncated"  # the answer ended before its finish_reason
    EMPTY = "empty"  # a 200 answer without a single token
    NOT_OPENAI = "not_openai"  # an answer that is not the protocol: HTML, other JSON
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"
    PROTOCOL_ERROR = "protocol_error"  # bytes that are not HTTP
    CLIENT_ERROR = "client_error"  # our own limits: file descriptors, ports
    CENSORED = "censored"  # still running when the run ended


STAMP_BYTES: Final = 48

FAILED: Final = frozenset(Outcome) - {Outcome.OK, Outcome.CENSORED}


class Started(msgspec.Struct, tag="started", array_like=True, gc=False):
    """The run's time zero on CLOCK_MONOTONIC, which all processes of a machine share."""

    start_ns: int


class Part(msgspec.Struct, tag="part", array_like=True, gc=False):
    """Bytes of an answer that came since the last part, and the clocks of its reads as they were found.

    body           the HTTP body, de-chunked
    ends           int32[reads] as bytes: length of `body` after each read
    callbacks_ns   int64[reads] as bytes: when our callback read it, CLOCK_REALTIME
    kernel_stamps  STAMP_BYTES per read: when it arrived, CLOCK_REALTIME, as the kernel writes it (struct
                   scm_timestamping: s and ns as int64, then two stamps that are not used); empty where it gave none
    zero_ns        CLOCK_REALTIME at the run's time zero, as the two clocks stood when the part was taken
    """

    index: int
    body: bytes
    ends: bytes
    callbacks_ns: bytes
    kernel_stamps: bytes
    zero_ns: int


class Done(msgspec.Struct, tag="done", array_like=True, gc=False):
    """The end of an exchange; its last bytes came in a Part before. Unset times are -1.

    `outcome` is what the transport saw (OK = a whole HTTP answer, TRUNCATED = the connection ended first); the decoder
    may know better.
    """

    index: int
    due_ns: int
    issued_ns: int
    sent_ns: int
    done_ns: int
    status: int
    outcome: Outcome
    detail: str
    connection: int
    reused: bool
    retries: int
    kernel_stamps: bool


class Tick(msgspec.Struct, tag="tick", array_like=True, gc=False):
    """The load process about itself, ten times a second."""

    time_ns: int
    readings: dict[str, float]


class Looked(msgspec.Struct, tag="looked", array_like=True, gc=False):
    """The answer to a Look: with the messages before it, all that is known of the run up to `time_ns`.

    running     int64[k] as bytes: the requests in flight, in the order of their issue
    issued_ns   int64[k] as bytes
    """

    time_ns: int
    running: bytes
    issued_ns: bytes


class Ended(msgspec.Struct, tag="ended", array_like=True, gc=False):
    """Nothing more will come of this run. `failure` is set when the load process had to give up."""

    time_ns: int
    failure: str = ""


class Job(msgspec.Struct, tag="job", array_like=True):
    """To the load process: run this plan against this address. Bodies follow, in the order of the plan.

    `due_ns` is int64[n] as bytes; with `in_flight_max`, `barriers`, `stop_ns` and `drain_ns` it is all of the Plan that
    the load process needs.
    """

    due_ns: bytes
    in_flight_max: int
    stop_ns: int
    drain_ns: int
    transport: str  # socket or aiohttp
    url: str  # of the endpoint, with path
    address: tuple[int, str, int]  # family, host, port: resolved
    proxy: str  # empty for none; only the aiohttp transport knows proxies
    headers: dict[str, str]
    verify_tls: bool
    timeout_ns: int
    worker: int = 0
    barriers: list[int] = []
    after: bytes = b""  # int64[n], and so think_ns; both empty for a plan in which nobody waits for another
    think_ns: bytes = b""
    joins: list[tuple[int, int]] = []


class Body(msgspec.Struct, tag="body", array_like=True, gc=False):
    """To the load process: the JSON of one request, ahead of its due time."""

    index: int
    body: bytes


class Stop(msgspec.Struct, tag="stop", array_like=True):
    """To the load process: send no more. `now` also cuts what is running."""

    now: bool = False


class Look(msgspec.Struct, tag="look", array_like=True):
    """To the load process: hand over what has come of the running answers, and say which those are."""


FromWorker = Started | Part | Done | Tick | Looked | Ended

_LENGTH = struct.Struct("<I")


def frame(message: msgspec.Struct) -> bytes:
    """A message as bytes with its length in front."""
    payload = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream back into messages of `kind` (a union of the types above)."""

    def __init__(self, kind: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(kind)
        self._pending = bytearray()

    def feed(self, data: bytes | memoryview) -> list[object]:
        """The messages that `data` completes. Raises msgspec.DecodeError on bytes that no peer of ours sent."""
        self._pending += data
        messages: list[object] = []
        at, available = 0, len(self._pending)
        view = memoryview(self._pending)
        while available - at >= 4:
            (length,) = _LENGTH.unpack_from(view, at)
            if available - at - 4 < length:
                break
            messages.append(self._decoder.decode(view[at + 4 : at + 4 + length]))
            at += 4 + length
        view.release()
        del self._pending[:at]
        return messages
