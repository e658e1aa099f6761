"""How one HTTP exchange ended: the words that client, records and analysis share."""

from enum import StrEnum


class Outcome(StrEnum):
    """Exactly one per request."""

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


FAILED = frozenset(Outcome) - {Outcome.OK, Outcome.CENSORED}
