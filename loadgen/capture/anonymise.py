"""From a prompt to what may be written down of it: salted hashes of its blocks, and which conversation it goes on with.

The salt is drawn when the capture starts and never written, so that a block can be told again within one capture and
by nobody outside it. A block's hash covers everything before it: equal hashes mean equal prompts up to there.
"""

import os
from array import array
from collections import OrderedDict
from hashlib import blake2b
from typing import Any

import msgspec

HASH_BITS = 53  # whole numbers that every JSON reader keeps exact
SESSIONS_MAX = 100_000  # conversations remembered; the one that was quiet longest goes first
BYTES_PER_TOKEN = 4  # of text, roughly: without a tokenizer a block of text is that many bytes for each token


class Anonymiser:
    """Holds the salt and what is needed to tell a conversation again. Not thread-safe: one thread owns it."""

    def __init__(self, block_tokens: int, salt: bytes | None = None) -> None:
        self._salt = salt or os.urandom(32)
        self._block_tokens = block_tokens
        self._sessions: OrderedDict[int, str] = OrderedDict()
        self._born = 0

    def blocks(self, request: dict[str, Any]) -> list[int]:
        """The chained hashes of the prompt's blocks; the last may be of a block that is not full."""
        prompt = request.get("prompt")
        if isinstance(prompt, list) and prompt and all(isinstance(each, int) for each in prompt):
            data, size = array("q", prompt).tobytes(), 8 * self._block_tokens
        else:
            data, size = b"".join(_pieces(request)), BYTES_PER_TOKEN * self._block_tokens
        chain, previous = [], b""
        for start in range(0, len(data), size):
            previous = self._hash(previous + data[start : start + size])
            chain.append(int.from_bytes(previous, "little") >> (64 - HASH_BITS))
        return chain

    def session(self, request: dict[str, Any], named: str | None) -> str | None:
        """The conversation that a request belongs to, as a name that says nothing: from a header's value, or because
        its messages begin with all of an earlier request's. None for a bare prompt, which tells nothing."""
        if named:
            return self._hash(b"session" + named.encode()).hex()
        if not isinstance(request.get("messages"), list):
            return None
        ends, previous = [], b""
        for piece in _pieces(request):
            previous = self._hash(previous + piece)
            ends.append(int.from_bytes(previous, "little"))
        known = next((end for end in reversed(ends[:-1]) if end in self._sessions), None)
        if known is None:
            self._born += 1
            name = self._hash(b"born" + self._born.to_bytes(8, "little")).hex()
        else:
            name = self._sessions.pop(known)
        if ends:
            self._sessions[ends[-1]] = name
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return name

    def _hash(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=8, key=self._salt).digest()


def _pieces(request: dict[str, Any]) -> list[bytes]:
    """The prompt as bytes, one piece for each thing that is added as a whole: the tools, then message by message."""
    tools = [msgspec.json.encode(request["tools"])] if request.get("tools") else []
    messages = request.get("messages")
    if isinstance(messages, list):
        return tools + [msgspec.json.encode(message) for message in messages]
    prompt = request.get("prompt")
    return [*tools, prompt.encode() if isinstance(prompt, str) else msgspec.json.encode(prompt)]
