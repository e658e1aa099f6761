"""Writes the trace, beside the proxy's loop: a thread takes finished exchanges, turns them into rows and appends them.

What waits for it is bounded in number and in bytes; what does not fit is counted as missed and never slows the proxy.
Every half second what was written is on disk, so a crash costs no more.
"""

import queue
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import loadgen
from loadgen.capture.anonymise import Anonymiser
from loadgen.capture.exchange import Exchange, row_of
from loadgen.records.folder import write_json

TRACE, MANIFEST = "trace.jsonl", "capture.json"
WAITING_MAX = 2_000  # exchanges
HELD_BYTES_MAX = 256 << 20  # of running and waiting exchanges together
_FLUSH_S = 0.5


class Writer:
    """`offer` from the proxy's thread, `close` at the end; `recorded` and `missed` (reason → requests) may be read."""

    def __init__(self, folder: Path, upstream: str, block_tokens: int, keep_text: bool) -> None:
        self.recorded = 0
        self.missed: dict[str, int] = {}
        self.failure = ""
        self.held_bytes = 0
        self._folder, self._keep_text = folder, keep_text
        self._anonymiser = Anonymiser(block_tokens)
        self._zero_ns = time.monotonic_ns()
        self._waiting: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        self._about = {
            "loadgen_trace": 1,
            "zero": datetime.now(UTC).isoformat(),
            "block_tokens": block_tokens,
            "tool": f"loadgen {loadgen.__version__}",
            "keep_text": keep_text,
        }
        self._file = (folder / TRACE).open("wb")
        self._file.write(msgspec.json.encode(self._about) + b"\n")
        self._write_manifest(clean=False, upstream=upstream)
        self._upstream = upstream
        self._thread = threading.Thread(target=self._run, name="loadgen-trace", daemon=True)
        self._thread.start()

    def miss(self, reason: str) -> None:
        """Count a request that was served and not recorded."""
        self.missed[reason] = self.missed.get(reason, 0) + 1

    def offer(self, exchange: Exchange) -> None:
        """Take over a finished exchange; its bytes stay counted until it is written."""
        if self.failure or self._waiting.qsize() >= WAITING_MAX:
            self.held_bytes -= exchange.size
            self.miss(self.failure or "the recorder was behind")
        else:
            self._waiting.put(exchange)

    def close(self) -> None:
        """Write what waits, and say that nothing is missing at the end."""
        self._waiting.put(None)
        self._thread.join()
        self._file.close()
        self._write_manifest(clean=True, upstream=self._upstream)

    def _run(self) -> None:
        flushed = time.monotonic()
        while True:
            try:
                exchange = self._waiting.get(timeout=_FLUSH_S)
            except queue.Empty:
                exchange = None
            else:
                if exchange is None:
                    break
            try:
                if exchange is not None:
                    self._write(exchange)
                if exchange is None or time.monotonic() - flushed > _FLUSH_S:
                    self._file.flush()
                    flushed = time.monotonic()
            except OSError as error:  # the disk is full, say: serving goes on
                self.failure = f"the trace cannot be written ({error.strerror})"
                self.miss(self.failure)

    def _write(self, exchange: Exchange) -> None:
        try:
            row = row_of(exchange, self._zero_ns, self._anonymiser, self._keep_text)
        finally:
            self.held_bytes -= exchange.size
        if row is None:
            self.miss("the body was no request")
            return
        self._file.write(msgspec.json.encode(row) + b"\n")
        self.recorded += 1

    def _write_manifest(self, *, clean: bool, upstream: str) -> None:
        told: dict[str, Any] = {"upstream": upstream, "clean": clean, "recorded": self.recorded, "missed": self.missed}
        write_json(self._folder / MANIFEST, self._about | told)
