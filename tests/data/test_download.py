"""Downloads from a server of the tests' own: resumed, refused, checked; nothing leaves this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from gancli.data.download import Transport, download, fetch
from gancli.data.registry import SOURCES, verify
from gancli.data.sources import SourceFile
from gancli.errors import DataError, UsageError

CONTENT = np.random.default_rng(0).bytes(300_000)
LOCAL = Transport(schemes=frozenset({"http"}), timeout=5)


@dataclass
class Server:
    """What the server does, by path, and what it was asked."""

    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: dict[str, int] = field(default_factory=dict)  # bytes sent before the connection is cut
    ignores_range: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        state, path = self.state, self.path
        asked = self.headers.get("Range")
        state.asked.append((path, asked))
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/"))
            self.end_headers()
            return
        if path not in state.files:
            self.send_error(404)
            return
        content, offset = state.files[path], 0
        if asked is not None and not state.ignores_range:
            offset = int(asked.removeprefix("bytes=").removesuffix("-"))
            if offset >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        content = content[offset:]
        if "endless" not in path:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: state.break_after.get(path)])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("OwnHandler", (Handler,), {"state": state})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def source_file(server: Server, *paths: str, **changes: object) -> SourceFile:
    file = SourceFile(
        name="a.bin",
        file_sha256=hashlib.sha256(CONTENT).hexdigest(),
        urls=tuple(server.url + path if path.startswith("/") else path for path in paths),
        max_download=1_000_000,
    )
    return replace(file, **changes)  # type: ignore[arg-type]


def get(file: SourceFile, folder: Path) -> tuple[Path, list[tuple[int, int | None]]]:
    progress: list[tuple[int, int | None]] = []
    path = fetch(file, folder, report=lambda got, total: progress.append((got, total)), transport=LOCAL)
    return path, progress


def test_a_file_is_fetched_and_its_progress_told(server, tmp_path):
    server.files["/a"] = CONTENT
    path, progress = get(source_file(server, "/a"), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "a.bin"
    assert path.read_bytes() == CONTENT
    assert [child.name for child in path.parent.iterdir()] == ["a.bin"]
    assert progress[0] == (0, len(CONTENT))
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked == [("/a", None)]


def test_the_next_mirror_is_tried_when_one_fails(server, tmp_path):
    server.files["/b"] = CONTENT
    assert get(source_file(server, "/missing", "http://127.0.0.1:1/a", "/b"), tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "silent"])
def test_the_next_mirror_is_tried_when_one_accepts_and_then_says_nothing(server, tmp_path, monkeypatch, reset):
    server.files["/b"] = CONTENT
    with socket.create_server(("127.0.0.1", 0)) as mute:
        taken = []

        def take() -> None:
            taken.append(mute.accept()[0])
            if reset:
                taken[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                taken[0].close()  # with a reset instead of a goodbye

        thread = threading.Thread(target=take)
        thread.start()
        file = source_file(server, f"http://127.0.0.1:{mute.getsockname()[1]}/a", "/b")
        monkeypatch.setattr(sys.modules[__name__], "LOCAL", replace(LOCAL, timeout=0.2))
        assert get(file, tmp_path)[0].read_bytes() == CONTENT
        thread.join()
        taken[0].close()


def test_a_broken_connection_is_resumed_at_once(server, tmp_path):
    server.files["/a"] = CONTENT
    server.break_after["/a"] = 120_000
    path, _ = get(source_file(server, "/a"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/a", None), ("/a", "bytes=120000-"), ("/a", "bytes=240000-")]


def test_a_broken_download_is_resumed_from_another_mirror(server, tmp_path):
    server.files["/b"] = CONTENT
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:99_999])
    path, progress = get(source_file(server, "/missing", "/b"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == ("/b", "bytes=99999-")
    assert progress[0] == (99_999, len(CONTENT))


def test_a_server_that_ignores_ranges_sends_everything_again(server, tmp_path):
    server.files["/a"] = CONTENT
    server.ignores_range = True
    (tmp_path / "a.bin.part").write_bytes(b"x" * 400_000)  # longer than the file
    assert get(source_file(server, "/a"), tmp_path)[0].read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_damaged_beginning_is_thrown_away_and_fetched_again(server, tmp_path):
    server.files["/a"] = CONTENT
    (tmp_path / "a.bin.part").write_bytes(b"x" * 1000)
    assert get(source_file(server, "/a"), tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == [("/a", "bytes=1000-"), ("/a", None)]


def test_a_beginning_that_is_too_long_is_thrown_away(server, tmp_path):
    server.files["/a"] = CONTENT
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"x")
    assert get(source_file(server, "/a"), tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == [("/a", "bytes=300001-"), ("/a", None)]


def test_a_complete_part_needs_no_server(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert get(source_file(server, "/a"), tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == []


def failure(file: SourceFile, folder: Path, transport: Transport = LOCAL) -> str:
    with pytest.raises(DataError) as caught:
        fetch(file, folder, report=lambda *_: None, transport=transport)
    assert not (folder / "a.bin").exists()
    return str(caught.value)


def test_when_every_mirror_fails_each_says_why(server, tmp_path):
    server.files["/wrong"] = CONTENT[::-1]
    server.files["/broken"] = CONTENT
    server.break_after["/broken"] = 0
    text = failure(source_file(server, "/missing", "/wrong", "http://127.0.0.1:1/a", "/broken"), tmp_path)
    first, *lines = text.split("\n")
    assert "a.bin could not be downloaded, all 4 mirrors failed" in first
    assert str(tmp_path / "a.bin") in first
    assert "404" in lines[0]
    assert "another SHA-256" in lines[1]
    assert "no connection" in lines[2]
    assert "broke after 0 of 300,000 bytes" in lines[3]
    assert len(lines) == 4
    assert all(url in line for url, line in zip(source_file(server, "/missing", "/wrong").urls, lines, strict=False))


def test_what_has_arrived_before_every_mirror_failed_is_kept(server, tmp_path):
    server.files["/a"] = CONTENT
    server.break_after["/a"] = 1000
    failure(source_file(server, "/a"), tmp_path)
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:4000]  # four attempts
    server.break_after.clear()
    assert get(source_file(server, "/a"), tmp_path)[0].read_bytes() == CONTENT


def test_wrong_content_is_never_kept(server, tmp_path):
    server.files["/a"] = b"<html>captive portal</html>"
    failure(source_file(server, "/a"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_checked(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    server.files["/a"] = CONTENT[::-1]
    with pytest.raises(DataError):
        get(source_file(server, "/a"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    server.files["/a"] = CONTENT
    assert get(source_file(server, "/a"), tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/large", "/endless"])
def test_more_bytes_than_expected_are_refused(server, tmp_path, path):
    server.files[path] = bytes(250_000)
    text = failure(source_file(server, path, max_download=200_000), tmp_path)
    assert "200,000" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "data:,hello"])
def test_only_https_is_spoken(server, tmp_path, url):
    assert "is not https" in failure(source_file(server, url), tmp_path, Transport())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "https://127.0.0.1/a"])
def test_a_redirection_to_another_scheme_is_refused(server, tmp_path, url):
    text = failure(source_file(server, f"/to/{url}"), tmp_path)
    assert f"refused: {url} is not http" in text or "is not allowed" in text  # urllib itself knows file: to be wrong


def test_a_redirection_is_followed(server, tmp_path):
    server.files["/a"] = CONTENT
    assert get(source_file(server, f"/to/{server.url}/a"), tmp_path)[0].read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_one_sentence(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError) as caught:
        get(source_file(server, "/a"), tmp_path / "file" / "below")
    assert "cannot be written" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def small_mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """MNIST's entry with files of our own, on our own server."""
    contents = {file.name: file.name.encode() * 100 for file in SOURCES["mnist"].files}
    files = []
    for file in SOURCES["mnist"].files:
        server.files[f"/{file.name}"] = gzip.compress(contents[file.name])
        digest = hashlib.sha256(contents[file.name]).hexdigest()
        size = len(contents[file.name])
        urls = (f"{server.url}/{file.name}",)
        files.append(replace(file, content_sha256=digest, content_size=size, urls=urls))
    sources = MappingProxyType({**SOURCES, "mnist": replace(SOURCES["mnist"], files=tuple(files))})
    for module in ("sources", "checksums", "registry"):
        monkeypatch.setattr(f"gancli.data.{module}.SOURCES", sources)
    return contents


def test_a_data_set_is_downloaded_once(server, small_mnist, tmp_path):
    paths = download("mnist", tmp_path, transport=LOCAL)
    assert [path.name for path in paths] == list(small_mnist)
    assert all(path.parent == tmp_path / "mnist" for path in paths)
    assert {status.state for status in verify("mnist", tmp_path)} == {"ok"}
    assert len(server.asked) == 4
    assert download("mnist", tmp_path, transport=LOCAL) == paths
    assert download("mnist", tmp_path / "mnist", transport=LOCAL) == paths
    assert len(server.asked) == 4


def test_only_what_is_missing_or_damaged_is_downloaded(server, small_mnist, tmp_path):
    (tmp_path / "mnist").mkdir()
    for name, content in list(small_mnist.items())[:2]:
        (tmp_path / "mnist" / name.removesuffix(".gz")).write_bytes(content)  # unpacked by hand: as good
    damaged = list(small_mnist)[2]
    (tmp_path / "mnist" / damaged).write_bytes(b"damaged")
    download("mnist", tmp_path, transport=LOCAL)
    assert [path for path, _ in server.asked] == [f"/{name}" for name in list(small_mnist)[2:]]
    assert {status.state for status in verify("mnist", tmp_path)} == {"ok"}


def test_the_progress_bar_goes_to_standard_error(small_mnist, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    download("mnist", tmp_path, transport=LOCAL)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "train-images-idx3-ubyte.gz" in captured.err


def test_what_cannot_be_downloaded_says_why(refuses, tmp_path):
    with refuses("gancli draws it itself", error=UsageError):
        download("digits", tmp_path)
    with refuses("ask its authors", "TFD_48x48.mat", error=UsageError):
        download("tfd", tmp_path)
    with refuses("did you mean mnist?", error=UsageError):
        download("minst", tmp_path)


def test_other_records_are_not_left_to_hide_a_download(refuses, tmp_path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "data_batch_1.bin").write_bytes(b"x")
    with refuses("move them elsewhere", str(tmp_path / "cifar10")):
        download("cifar10", tmp_path)
