import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from gancli.errors import GancliError
from gancli.files import atomic_write, atomic_write_bytes, atomic_write_text


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_bytes_arrive_unchanged(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    atomic_write_bytes(tmp_path / "a.bin", content)
    assert (tmp_path / "a.bin").read_bytes() == content
    assert names_in(tmp_path) == ["a.bin"]


def test_text_is_written_as_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a.txt", "σ = 0.2\nµ\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xcf\x83 = 0.2\n\xc2\xb5\r\n"


def test_an_existing_file_is_replaced_not_extended(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a long old content")
    atomic_write_text(path, "new")
    assert path.read_text() == "new"


def test_missing_parent_folders_are_created(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "runs" / "one" / "a.txt", "x")
    assert (tmp_path / "runs" / "one" / "a.txt").read_text() == "x"


def test_a_relative_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    atomic_write_text(Path("a.txt"), "x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_the_stream_may_be_sought_and_rewritten(tmp_path: Path) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(b"....body")
        stream.seek(0)
        stream.write(b"head")

    atomic_write(tmp_path / "a.bin", write)
    assert (tmp_path / "a.bin").read_bytes() == b"headbody"


def test_the_old_content_is_readable_until_the_writer_is_done(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(stream: BinaryIO) -> None:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"

    atomic_write(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [ValueError("bad"), KeyboardInterrupt(), OSError(errno.EIO, "io")])
def test_a_failing_writer_keeps_the_old_file_and_leaves_no_temporary_one(
    tmp_path: Path, failure: BaseException
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(stream: BinaryIO) -> None:
        stream.write(b"half of the")
        raise failure

    with pytest.raises((type(failure), GancliError)):
        atomic_write(path, write)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_writer_error_that_is_not_the_systems_passes_through_unchanged(tmp_path: Path) -> None:
    failure = ValueError("bad picture")

    def write(stream: BinaryIO) -> None:
        raise failure

    with pytest.raises(ValueError, match="bad picture") as caught:
        atomic_write(tmp_path / "a.bin", write)
    assert caught.value is failure
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "not writable"),
        (errno.EFBIG, "larger than the system allows"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_system_error_becomes_one_sentence_that_names_the_file(tmp_path: Path, number: int, expected: str) -> None:
    path = tmp_path / "a.bin"

    def write(stream: BinaryIO) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(GancliError) as caught:
        atomic_write(path, write)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_systems_reason_is_told_even_where_a_library_hides_it(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are a Unix matter")

    def write(stream: BinaryIO) -> None:
        try:
            stream.write(bytes(100_000))
        except OSError:
            raise RuntimeError("unexpected position") from None

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(GancliError, match="larger than the system allows"):
            atomic_write(tmp_path / "a.bin", write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(tmp_path) == []


def test_a_failing_rename_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(source: object, target: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(GancliError, match="not writable"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(GancliError, match="locked is not writable"):
        atomic_write_text(folder / "a.txt", "x")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(GancliError, match="it is a folder"):
        atomic_write_text(tmp_path / "run", "x")
    assert names_in(tmp_path) == ["run"]


@pytest.mark.parametrize("below", ["a.txt", "deeper/a.txt"])
def test_a_file_in_the_place_of_a_parent_folder_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(GancliError, match="is a file, not a folder"):
        atomic_write_text(tmp_path / "run" / below, "x")
    assert (tmp_path / "run").read_text() == "a file"


def test_a_device_is_refused_rather_than_replaced() -> None:
    with pytest.raises(GancliError, match="not a regular file"):
        atomic_write_text(Path(os.devnull), "x")
    assert not Path(os.devnull).is_file()


def test_a_symbolic_link_stays_a_link_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    atomic_write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    atomic_write_text(path, "x")
    assert path.read_text() == "x"


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GancliError, match="too long"):
        atomic_write_text(tmp_path / ("a" * 300), "x")
    assert names_in(tmp_path) == []
