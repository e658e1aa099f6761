"""Fetching against a server of our own: whole, broken off and gone on with, changed, missing."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadgen.errors import BadInputError
from loadgen.trace.fetch import SOURCES, Source, fetch, fits

DATA = bytes(range(256)) * 5000


class _Shelf(BaseHTTPRequestHandler):
    asked: list[str | None]
    breaks: bool
    ranges: bool

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if self.path != "/x.csv":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        self.wfile.write(DATA[start : start + 300_000] if server.breaks else DATA[start:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
        """Silence."""


class _Server(ThreadingHTTPServer):
    asked: list[str | None]
    breaks = False
    ranges = True


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Shelf) as made:
        made.asked = []
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def source(server: _Server, sha256: str, path: str = "/x.csv") -> Source:
    return Source(f"http://127.0.0.1:{server.server_port}{path}", sha256, len(DATA), "CC0", "made")


SHA = hashlib.sha256(DATA).hexdigest()


def test_a_file_comes_whole_and_once(server: _Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "x.csv"
    assert fetch(source(server, SHA), path, lambda have, total: seen.append((have, total))) == SHA
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert fetch(source(server, SHA), path, lambda *_: None) == SHA
    assert len(server.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_it_goes_on_where_it_broke_off(server: _Server, tmp_path: Path, ranges: bool) -> None:
    path = tmp_path / "x.csv"
    server.breaks, server.ranges = True, ranges
    with pytest.raises(BadInputError, match="cannot be had"):
        fetch(source(server, SHA), path, lambda *_: None)
    assert not path.exists()
    server.breaks = False
    assert fetch(source(server, SHA), path, lambda *_: None) == SHA
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=300000-"]


def test_another_content_is_thrown_away(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not what it was"):
        fetch(source(server, "0" * 64), tmp_path / "x.csv", lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_that_name_is_never_overwritten(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"mine")
    with pytest.raises(BadInputError, match="is another file"):
        fetch(source(server, SHA), path, lambda *_: None)
    assert path.read_bytes() == b"mine"


def test_what_is_gone_or_out_of_reach_is_said(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="answers 404"):
        fetch(source(server, SHA, "/gone.csv"), tmp_path / "x.csv", lambda *_: None)
    with pytest.raises(BadInputError, match="cannot be had"):
        fetch(Source("http://127.0.0.1:9/x", SHA, 0, "CC0", "made"), tmp_path / "x.csv", lambda *_: None)


def test_a_checksum_that_is_known_in_part_counts_as_far_as_it_goes() -> None:
    assert fits("4bb37836aaaa2122", "4bb37836…2122")
    assert not fits("4bb37836aaaa2123", "4bb37836…2122")
    assert fits(SHA, SHA)
    assert not fits(SHA, SHA[:-1] + "x")


def test_the_table_is_well_formed() -> None:
    for each in SOURCES.values():
        assert each.url.startswith("https://")
        assert each.licence in {"CC-BY-4.0", "Apache-2.0"}
        assert not each.sha256 or "…" in each.sha256 or len(each.sha256) == 64
