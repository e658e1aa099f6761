"""One request as it will be sent: the type between workload and client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """A request ready to send. `body` is JSON, encoded before the run; `input_tokens` is planned, not measured."""

    index: int
    body: bytes
    input_tokens: int
    output_tokens: int
    label: str = ""
