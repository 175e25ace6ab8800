"""Downloads from a server on loopback that misbehaves as told."""

import hashlib
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.download import PIECE, Official, download
from pipeline.corpora.sources import fetch
from pipeline.corpora.unpack import one_file

CONTENT = random.Random(0).randbytes(2_000_000)


@pytest.fixture
def server():
    """A server of `content`. cuts: how many answers break off after `piece` bytes; ranges: whether it can resume."""
    state = SimpleNamespace(content=CONTENT, cuts=0, piece=700_000, ranges=True, status=200, tag='"1"', asked=[])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1)) if wanted and state.ranges else 0
            if start and self.headers["If-Range"] != state.tag:
                start = 0
            if start and start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            body = state.content[start:]
            self.send_response(206 if start else state.status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.tag:
                self.send_header("ETag", state.tag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cuts:
                state.cuts -= 1
                body = body[: state.piece]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_port}/a.bin"
        yield state
        http.shutdown()


def test_whole_file(server, tmp_path):
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_resumes_after_cuts_where_it_was(server, tmp_path):
    server.cuts = 2
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT
    offsets = [int(asked[6:-1]) for asked in server.asked[1:]]
    assert len(offsets) == 2 and 0 <= 700_000 - offsets[0] <= PIECE and 0 <= offsets[0] + 700_000 - offsets[1] <= PIECE


def test_a_later_process_resumes(server, tmp_path):
    server.cuts = 100
    with pytest.raises(CorpusError, match="the connection was cut|IncompleteRead|Connection broken"):
        server.piece = 100_000
        download(server.url, tmp_path / "a")
    kept = (tmp_path / "a.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    server.cuts, server.asked = 0, []
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT
    assert server.asked == [f"bytes={kept}-"]


def test_server_without_ranges_starts_over(server, tmp_path):
    server.cuts, server.ranges = 1, False
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT


def test_server_without_validator_is_never_resumed(server, tmp_path):
    server.cuts, server.tag = 1, None
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_file_changed_between_attempts_starts_over(server, tmp_path):
    (tmp_path / "a.part").write_bytes(b"old" * 1000)
    (tmp_path / "a.part.validator").write_text('"0"')
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"more"], ids=["complete", "longer than the file"])
def test_nothing_left_to_ask_for(server, tmp_path, kept):
    (tmp_path / "a.part").write_bytes(kept)
    (tmp_path / "a.part.validator").write_text(server.tag)
    assert download(server.url, tmp_path / "a").read_bytes() == CONTENT


def test_http_error_and_refused_connection_are_one_line(server, tmp_path):
    server.status = 404
    with pytest.raises(CorpusError, match="^HTTP 404 Not Found$"):
        download(server.url, tmp_path / "a")
    with pytest.raises(CorpusError, match=r"^cannot connect \(\[Errno \d+\] Connection refused\)$"):
        download("http://127.0.0.1:9/a", tmp_path / "a")


@pytest.mark.parametrize(
    "stated, reason",
    [
        ({"bytes": len(CONTENT) + 1}, r"2,000,000 bytes, expected 2,000,001"),
        ({"sha256": "0" * 64}, "has sha256 " + hashlib.sha256(CONTENT).hexdigest()),
    ],
)
def test_wrong_bytes_never_land(server, listed, tmp_path, stated, reason):
    corpus = listed(Original("none", one_file, "a.bin", Official(server.url), "1", **stated))
    with pytest.raises(CorpusError, match=reason):
        fetch(corpus, tmp_path / "raw", None)
    assert not (tmp_path / "raw/listed").exists()
    assert not list(tmp_path.rglob("a.bin*"))  # the next attempt starts clean


def test_right_bytes_land_with_nothing_else_in_the_folder(server, listed, tmp_path):
    server.cuts = 1
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    corpus = listed(Original("none", one_file, "a.bin", Official(server.url), "1", len(CONTENT), sha256))
    card = fetch(corpus, tmp_path / "raw", None)
    assert card["sha256"] == sha256 and card["source"] == {"kind": "official", "where": server.url, "sha256": sha256}
    names = sorted(path.name for path in (tmp_path / "raw/listed").rglob("*"))
    assert names == ["SHA256SUMS", "a.bin", "card.json", "files"]
