"""Downloads: over https only, from several mirrors, resumed after a break, and checked before anything uses them."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gancli.data.checksums import check_file, verify_files
from gancli.data.registry import get_source, resolve_data_dir
from gancli.data.sources import SourceFile, cifar10_folder, find_file
from gancli.errors import DataError, UsageError

_CHUNK = 1 << 16
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 4  # requests to one mirror as long as each brings something

Report = Callable[[int, int | None], None]  # (bytes so far, bytes in all if known)


@dataclass(frozen=True)
class Transport:
    """How bytes are fetched; the tests have one that speaks http to their own machine.

    Attributes:
        schemes: URL schemes that are allowed, redirections included.
        timeout: seconds to wait for a connection or for the next byte.
    """

    schemes: frozenset[str] = field(default_factory=lambda: frozenset({"https"}))
    timeout: float = _TIMEOUT

    def open(self, url: str, offset: int) -> Any:
        """Open a URL from a byte offset on; returns the response whatever its status."""
        self.check(url)
        headers = {"User-Agent": "gancli", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 (the scheme has been checked)
        return urllib.request.build_opener(_Redirect(self)).open(request, timeout=self.timeout)

    def check(self, url: str) -> None:
        """Raise a _MirrorError for a scheme that is not allowed."""
        if urllib.parse.urlsplit(url).scheme not in self.schemes:
            raise _MirrorError(f"refused: {url[:100]} is not {' or '.join(sorted(self.schemes))}")


class _MirrorError(Exception):
    """Why one mirror did not do."""


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follow redirections, but never away from https."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self._transport.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    name: str,
    data_dir: str | Path | None = None,
    *,
    progress: bool = True,
    transport: Transport | None = None,
) -> list[Path]:
    """Download the files of a data set that are not there yet, or that are not the published ones.

    Args:
        name: a name of SOURCES.
        data_dir: where data sets lie; the files go to a folder in it that is named after the data set.
        progress: draw a bar on standard error, if that is a terminal.
        transport: how bytes are fetched.

    Returns:
        The paths of all its files, in order.

    Raises:
        UsageError: an unknown name, or a data set that cannot be downloaded.
        DataError: every mirror failed; the sentence is followed by one line for each.
    """
    source = get_source(name)
    if not source.files:
        raise UsageError(f"{name} needs no download: gancli draws it itself.")
    if not source.downloadable:
        raise UsageError(f"{name} cannot be downloaded: {source.by_hand} and put it into the folder {name}.")
    folder = resolve_data_dir(data_dir)
    if name == "cifar10" and (unpacked := cifar10_folder(folder)) is not None:
        statuses = verify_files(name, folder)
        if all(status.state == "ok" for status in statuses):
            return [unpacked / status.name for status in statuses]
        raise DataError(
            f"{unpacked} holds .bin files that are not CIFAR-10's published ones and would be read instead of the "
            f"download; move them elsewhere first."
        )
    paths = []
    for file in source.files:
        present = find_file(name, file.name, folder)
        if present is not None and _is_published(file, present):
            paths.append(present)
            continue
        with _progress_bar(file.name, enabled=progress) as report:
            own_folder = folder if folder.name == name else folder / name
            paths.append(fetch(file, own_folder, report=report, transport=transport or Transport()))
    return paths


def fetch(file: SourceFile, folder: Path, *, report: Report, transport: Transport) -> Path:
    """Download one file to `folder`, trying its mirrors in turn.

    What has arrived is kept beside it as `.part`, and the next attempt goes on from there. The file gets its name only
    when its checksum is the published one.

    Args:
        file: what to fetch, from where, and its checksum.
        folder: where to put it; made if need be.
        report: called with the bytes so far and the bytes in all, if known.
        transport: how bytes are fetched.

    Returns:
        The path of the file.

    Raises:
        DataError: every mirror failed, or the folder cannot be written to.
    """
    target = folder / file.name
    part = folder / f"{file.name}.part"
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            try:
                if not (part.exists() and _is_published(file, part)):
                    _fetch_from(url, file, part, report, transport)
                os.replace(part, target)
                return target
            except _MirrorError as error:
                reasons.append(f"  {url}: {error}")
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}; free some space or choose another --data-dir."
        ) from error
    raise DataError(
        f"{file.name} could not be downloaded, all {len(file.urls)} mirrors failed; try again later (what has arrived "
        f"is kept), or get it by hand and put it at {target}:\n" + "\n".join(reasons)
    )


def _fetch_from(url: str, file: SourceFile, part: Path, report: Report, transport: Transport) -> None:
    """Complete `part` from one mirror and checks it; raises _MirrorError if that cannot be done."""
    resumed = part.exists() and part.stat().st_size > 0
    _complete(url, file, part, report, transport)
    if _is_published(file, part):
        return
    part.unlink()
    if resumed:  # the beginning may have been another mirror's, or damaged: once more, all from here
        _complete(url, file, part, report, transport)
        if _is_published(file, part):
            return
        part.unlink()
    raise _MirrorError("what it sent has another SHA-256 than the published one")


def _complete(url: str, file: SourceFile, part: Path, report: Report, transport: Transport) -> None:
    """Request the rest of a file until it is all there, as long as each request brings something."""
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        reason = _request(url, file, part, before, report, transport)
        if reason is None:
            return
        if not part.exists() or part.stat().st_size <= before:
            break
    raise _MirrorError(reason)


def _request(url: str, file: SourceFile, part: Path, offset: int, report: Report, transport: Transport) -> str | None:
    """Ask once; returns None when the file is complete, or why the connection ended before."""
    try:
        opened = transport.open(url, offset)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            part.unlink()  # nothing beyond what is there, which is not the file
            return _request(url, file, part, 0, report, transport)
        raise _MirrorError(f"the server answered {error.code} {error.reason}") from error
    except http.client.HTTPException as error:
        raise _MirrorError(f"its answer is not one of HTTP ({type(error).__name__})") from error
    except OSError as error:  # URLError, or what else may become of a connection; no file has been touched yet
        raise _MirrorError(f"no connection ({getattr(error, 'reason', error)})") from error
    with opened as response:
        if not (response.status == 206 and _starts_at(response.headers, offset)):
            offset = 0  # the server does not resume: it sends everything, so everything is taken
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
        if total is not None and total > file.max_download:
            raise _MirrorError(f"it offers {total:,} bytes, expected at most {file.max_download:,}")
        return _receive(response, file, part, offset, total, report)


def _starts_at(headers: http.client.HTTPMessage, offset: int) -> bool:
    """Whether a partial response begins where it was asked to."""
    match = re.match(r"bytes ([0-9]{1,15})-", headers.get("Content-Range", ""))
    return match is not None and int(match.group(1)) == offset


def _receive(response: Any, file: SourceFile, part: Path, offset: int, total: int | None, report: Report) -> str | None:
    """Append what comes to `part` from `offset` on; returns None, or why it ended early."""
    broken = None
    with open(part, "r+b" if offset else "wb") as out:
        out.seek(offset)
        out.truncate()
        report(offset, total)
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:  # the network's errors; those of `out` are ours
                broken = f"the connection broke ({error or type(error).__name__})"
                break
            if not chunk:
                break
            offset += len(chunk)
            if offset > file.max_download:
                part.unlink()
                raise _MirrorError(f"it sends more than the {file.max_download:,} bytes expected at most")
            out.write(chunk)
            report(offset, total)
        out.flush()
        os.fsync(out.fileno())
    if broken is None and total is not None and offset < total:
        broken = f"the connection broke after {offset:,} of {total:,} bytes"
    return broken


def _is_published(file: SourceFile, path: Path) -> bool:
    try:
        return check_file(file, path)[0] == "ok"
    except DataError:
        return False


@contextlib.contextmanager
def _progress_bar(name: str, *, enabled: bool) -> Iterator[Report]:
    """A bar with speed and time left on standard error, so that standard output stays for results."""
    if not (enabled and sys.stderr.isatty()):
        yield lambda got, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda got, total: bars.update(task, completed=got, total=total)
