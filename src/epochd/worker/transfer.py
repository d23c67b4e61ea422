"""How a worker gets at what the server has, and hands over what it makes.

A worker on the machine of the server shares its folders: nothing is copied. Any other fetches datasets, the newest
checkpoint and the model that predicts before it begins, and sends each folder that it makes file by file, the manifest
last, before it reports it. So the order of durability is the same everywhere: what a report names is on the server.

Datasets and models are kept in ``cache/inputs`` for later attempts, up to ``cache_mb``, the least recently used are
deleted first. An entry is locked by the process that uses it.
"""

import base64
import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, TypeVar
from urllib.parse import quote

import httpx

from epochd.artifact import files
from epochd.core.errors import (
    CorruptFile,
    EpochdError,
    NotFound,
    OutOfSpace,
    ServerUnreachable,
    StaleAttempt,
    StorageUnavailable,
)
from epochd.core.tickets import AttemptTicket, PredictionTicket
from epochd.core.transfers import Grants, Inputs, RemoteFile, Wanted
from epochd.data.storage.row_cache import exclusive_lock
from epochd.worker.report import TLS, TRANSIENT

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 5.0
REQUEST_SECONDS = 30.0
CHUNK_BYTES = 1 << 20
THREADS = 8
"""How many files are fetched at once."""
QUICK_TRIES = 3
"""How often a checkpoint is sent that need not arrive: the next one is due soon."""
MAX_DAMAGED = 4
"""How many checkpoints may be damaged in the object store, before a worker gives up."""
LOG_SECONDS, LOG_BYTES = 2.0, 1 << 20
COMPLETE = "complete.json"

AnyTicket = TypeVar("AnyTicket", bound=AttemptTicket)


class Server(Protocol):
    """What the reporter of the attempt knows of the server."""

    def check(self) -> None:
        """Raise StaleAttempt if the attempt is not the running one any more, EpochdError if it cannot report."""

    @property
    def is_given_up(self) -> bool:
        """Whether the server has been unreachable for longer than the grace period."""


class SharedFolders:
    """For a worker on the machine of the server."""

    def fetched(self, ticket: AnyTicket) -> tuple[AnyTicket, list[str]]:
        """The ticket with the paths of its files on this machine, and what is wrong with newer checkpoints."""
        return ticket, []

    def send(self, folder: Path, *, is_optional: bool = False) -> bool:
        """Hand a complete folder over; whether that was possible. Only what ``is_optional`` may fail: otherwise this
        waits for the server. Raises StaleAttempt, ServerUnreachable after the grace period."""
        return True

    def send_file(self, file: Path) -> None:
        """Hand over a file that belongs to no folder with a manifest."""

    def clear(self, *folders: Path) -> None:
        """Delete folders here that have been handed over."""

    def close(self) -> None:
        """Close the connection, and let others delete what this attempt has fetched."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteFolders(SharedFolders):
    """For a worker on another machine."""

    def __init__(self, ticket: AttemptTicket, server: Server, transport: httpx.BaseTransport | None = None) -> None:
        self._ticket = ticket
        self._server = server
        self._home = ticket.data_dir
        self._path = f"/internal/attempts/{ticket.task_id}"
        self._client = connect(ticket, transport)
        self._store: httpx.Client | None = None
        self._locks: list[BinaryIO] = []

    def fetched(self, ticket: AnyTicket) -> tuple[AnyTicket, list[str]]:
        inputs = self._inputs()
        return self._with_data(ticket, inputs), inputs.faults

    def _inputs(self) -> Inputs:
        """What the attempt needs, after its state was fetched. A checkpoint that is damaged in the object store is told
        to the server, which then names an older one."""
        damaged: list[str] = []
        while True:
            get = partial(self._client.get, f"{self._path}/files", params={"damaged": damaged})
            inputs = Inputs.model_validate_json(self._patiently(get).content)
            try:
                self._fetch_state(inputs.state)
                return inputs
            except CorruptFile:
                if not self._ticket.is_stored or len(damaged) == MAX_DAMAGED:
                    raise
                damaged.append(Path(inputs.state[0].path).parent.name)

    def _with_data(self, ticket: AnyTicket, inputs: Inputs) -> AnyTicket:
        """The ticket with the paths of its data, and of the model that predicts, which are fetched."""
        cap = getattr(ticket, "cache_mb", 20_480) << 20
        values: dict[str, Any] = {}
        if inputs.data:
            entry = self._entry("data", inputs.data, cap)
            values["registered"] = {name: entry / path for name, path in inputs.registered.items()}
            values["dataset_roots"] = sorted(path for path in entry.iterdir() if path.is_dir())
        if inputs.image_root is not None:
            root = inputs.image_root.partition("/")[2]
            values["spec"] = ticket.spec.model_copy(update={"image_root": root})  # type: ignore[attr-defined]
        if isinstance(ticket, PredictionTicket) and inputs.model:
            values["model_dir"] = self._entry("model", inputs.model, cap) / ticket.model_dir.name
        return ticket.model_copy(update=values)

    def send(self, folder: Path, *, is_optional: bool = False) -> bool:
        tries = QUICK_TRIES if is_optional else None
        try:
            if self._ticket.is_stored:
                self._patiently(partial(self._store_folder, folder, set()), tries=tries)
                return True
            names = sorted(files.own_names(folder) - {files.DERIVED}, key=lambda name: name == files.MANIFEST)
            for name in names:
                self._patiently(partial(self._put, folder / name), tries=tries)
        except (ServerUnreachable, OutOfSpace, StorageUnavailable) as error:
            if not is_optional:
                raise
            logger.warning("%s was not sent to the server: %s", folder.name, error)
            return False
        return True

    def send_file(self, file: Path) -> None:
        self._patiently(partial(self._put, file))

    def clear(self, *folders: Path) -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            latest = folder.parent / files.LATEST
            if latest.is_symlink() and not latest.exists():
                latest.unlink(missing_ok=True)

    def close(self) -> None:
        self._client.close()
        if self._store is not None:
            self._store.close()
        for lock in self._locks:
            lock.close()

    def _fetch_state(self, state: Sequence[RemoteFile]) -> None:
        """Fetch the newest checkpoint, or the parts of a prediction, unless they are here."""
        folders: dict[Path, list[RemoteFile]] = {}
        for file in state:
            folders.setdefault((self._home / file.path).parent, []).append(file)
        for folder, wanted in folders.items():
            if any(path.path.endswith(f"/{files.MANIFEST}") for path in wanted):
                if not self._is_here(folder):
                    self._fetch_state_folder(folder, wanted)
            else:
                self._fetch_all("state", wanted, self._home)

    def _fetch_state_folder(self, folder: Path, wanted: Sequence[RemoteFile]) -> None:
        """Fetch a checkpoint, or a part of a prediction, without which its rows are predicted again. Raises
        CorruptFile."""
        try:
            self._fetch_folder(folder, wanted)
        except CorruptFile as error:
            if not isinstance(self._ticket, PredictionTicket):
                raise
            logger.warning("%s: its rows are predicted again", error)
            shutil.rmtree(folder, ignore_errors=True)

    def _is_here(self, folder: Path) -> bool:
        """Whether a folder need not be fetched; a damaged one is fetched again from an object store."""
        if not self._ticket.is_stored:
            return (folder / files.MANIFEST).is_file()
        try:
            files.verify(folder)
        except CorruptFile:
            return False
        return True

    def _fetch_folder(self, folder: Path, wanted: Sequence[RemoteFile]) -> None:
        temporary = folder.parent / f"{files.TEMPORARY}{folder.name}-{secrets.token_hex(4)}"
        temporary.mkdir(0o700, parents=True)
        try:
            for file in wanted:
                self._fetch("state", file, temporary / Path(file.path).name)
            files.verify(temporary)
            files.publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _entry(self, kind: str, wanted: Sequence[RemoteFile], cap: int) -> Path:
        """The folder of the cache with these files, which are fetched if they are not there, locked until ``close``."""
        known = json.dumps([kind, *(file.model_dump() for file in wanted)]).encode()
        cache = self._home / "cache" / "inputs"
        entry = cache / hashlib.sha256(known).hexdigest()[:32]
        with exclusive_lock(entry.with_name(f"{entry.name}.lock")):
            if (lock := _locked(entry)) is None:
                make_room(cache, cap, sum(file.bytes for file in wanted))
                temporary = cache / f"{entry.name}-{secrets.token_hex(4)}"
                try:
                    self._fetch_all(kind, wanted, temporary)
                    files.write_json(temporary / COMPLETE, {"bytes": sum(file.bytes for file in wanted)})
                    shutil.rmtree(entry, ignore_errors=True)
                    temporary.rename(entry)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
                lock = _locked(entry)
        if lock is not None:
            self._locks.append(lock)
        return entry

    def _fetch_all(self, kind: str, wanted: Sequence[RemoteFile], folder: Path) -> None:
        """Fetch files into a folder, several at once."""
        began = time.monotonic()
        for file in wanted:
            (folder / file.path).parent.mkdir(0o700, parents=True, exist_ok=True)
        with ThreadPoolExecutor(min(THREADS, max(1, len(wanted))), thread_name_prefix="fetch") as pool:
            for _ in pool.map(lambda file: self._fetch(kind, file, folder / file.path), wanted):
                self._server.check()
        size = sum(file.bytes for file in wanted) / 2**20
        logger.info("fetched %d files of %.1f MiB in %.1f s", len(wanted), size, time.monotonic() - began)

    def _fetch(self, kind: str, file: RemoteFile, target: Path) -> None:
        """Fetch one file; after an interruption, only what is missing."""
        target.unlink(missing_ok=True)
        self._patiently(partial(self._download, f"{self._path}/files/{kind}/{quote(file.path)}", target, file.bytes))
        os.utime(target, ns=(file.modified, file.modified))

    def _download(self, url: str, target: Path, size: int) -> httpx.Response:
        done = target.stat().st_size if target.exists() else 0
        headers = {"Range": f"bytes={done}-"} if 0 < done < size else {}
        with self._client.stream("GET", url, headers=headers) as answer:
            if answer.status_code == 307:
                return self._download_from_store(answer.headers["Location"], headers, target, size)
            if answer.status_code not in (200, 206):
                answer.read()
                if answer.status_code == CorruptFile.status and _said(answer, "code") == CorruptFile.code:
                    raise CorruptFile(_message(answer))
                return answer
            self._receive(answer, target)
        if target.stat().st_size != size:
            raise EpochdError(f"{target.name} has changed on the server while it was read; the next attempt reads it")
        return answer

    def _download_from_store(self, url: str, headers: dict[str, str], target: Path, size: int) -> httpx.Response:
        """Fetch a file where the server says that it is, without the token of the attempt."""
        with self._store_client().stream("GET", url, headers=headers) as answer:
            if answer.status_code not in (200, 206):
                raise ServerUnreachable(f"the object store answered {answer.status_code} for {target.name}")
            self._receive(answer, target)
        if (received := target.stat().st_size) != size:
            if received > size:
                target.unlink()
            raise ServerUnreachable(f"the object store sent {received:,} of {size:,} bytes of {target.name}")
        return answer

    def _receive(self, answer: httpx.Response, target: Path) -> None:
        """Write a body to a file, or the rest of one."""
        with target.open("ab" if answer.status_code == 206 else "wb") as out:
            for chunk in answer.iter_bytes():
                out.write(chunk)
                self._server.check()

    def _store_client(self) -> httpx.Client:
        """The client for requests with signed URLs."""
        if self._store is None:
            self._store = httpx.Client(timeout=REQUEST_SECONDS)
        return self._store

    def _store_folder(self, folder: Path, sent: set[str]) -> httpx.Response:
        """Send the files of a folder to the object store, but those that are ``sent``, and the manifest to the server.
        If that does not accept it, all files are to be sent again."""
        about = json.loads((folder / files.MANIFEST).read_text(encoding="utf-8"))["files"]
        home = folder.relative_to(self._home).as_posix()
        if missing := [name for name in about if name not in sent]:
            wanted = Wanted(files={f"{home}/{name}": (about[name]["sha256"], about[name]["bytes"]) for name in missing})
            url, query = f"{self._path}/files/grants", {"attempt": self._ticket.attempt}
            answer = self._client.post(url, params=query, content=wanted.model_dump_json())
            if not answer.is_success:
                return answer
            grants = Grants.model_validate_json(answer.content)
            for name in missing:
                if (place := grants.urls[f"{home}/{name}"]) is not None:
                    self._put_at(place, folder / name, grants.headers)
                elif not (answer := self._put(folder / name)).is_success:
                    return answer
                sent.add(name)
        answer = self._put(folder / files.MANIFEST)
        if not answer.is_success:
            sent.clear()
        return answer

    def _put_at(self, url: str, file: Path, headers: Mapping[str, str]) -> None:
        """Send one file to the object store, which compares its MD5. Raises ServerUnreachable."""
        with file.open("rb") as content:
            digest = base64.b64encode(hashlib.file_digest(content, "md5").digest()).decode()
            content.seek(0)
            sent = {"Content-Length": str(file.stat().st_size), "Content-MD5": digest, **headers}
            answer = self._store_client().put(url, content=_chunks(content), headers=sent)
        if not answer.is_success:
            raise ServerUnreachable(f"the object store answered {answer.status_code} for {file.name}")

    def _put(self, file: Path) -> httpx.Response:
        """Send one file, to its path below the data folder."""
        path = quote(file.relative_to(self._home).as_posix())
        with file.open("rb") as content:
            return self._client.put(
                f"{self._path}/files/{path}",
                params={"attempt": self._ticket.attempt},
                content=_chunks(content),
                headers={"Content-Length": str(file.stat().st_size)},
            )

    def _patiently(self, send: Callable[[], httpx.Response], tries: int | None = None) -> httpx.Response:
        """The answer to a request, which is repeated while the server is unreachable or has an error of its own: up to
        ``tries`` times, by default until the grace period is over. Raises what the answer means."""
        delay, began = FIRST_RETRY_SECONDS, time.monotonic()
        while True:
            self._server.check()
            failure, answer = _tried(send)
            if answer is not None:
                return answer
            tries = None if tries is None else tries - 1
            if self._ticket.is_stored and not self._server.is_given_up:
                _check_time(time.monotonic() - began, self._ticket.grace_seconds, failure)
            if self._server.is_given_up or tries == 0:
                raise failure
            logger.info("%s; trying again in %.1f s", failure, delay)
            time.sleep(delay)
            delay = min(2 * delay, LAST_RETRY_SECONDS)


def _check_time(waited: float, limit: float, failure: EpochdError) -> None:
    """Raise StorageUnavailable if the object store of a server that is reachable has not worked for so long."""
    if waited > limit:
        raise StorageUnavailable(f"{failure.message}. The task continues when the object store works again") from None


def _tried(send: Callable[[], httpx.Response]) -> tuple[EpochdError, httpx.Response | None]:
    """The answer to a request; or why there is none now. Raises what an answer means that repeating does not change."""
    try:
        answer = send()
    except httpx.TransportError as error:
        return ServerUnreachable(f"the server is unreachable: {error or type(error).__name__}"), None
    except ServerUnreachable as error:
        return error, None
    if answer.is_success:
        return ServerUnreachable(""), answer
    reason = _message(answer)
    if answer.status_code in (401, 409):
        raise StaleAttempt(f"the attempt no longer owns its task: {reason}")
    if answer.status_code == OutOfSpace.status:
        return OutOfSpace(reason), None
    if answer.status_code >= 500 or answer.status_code in TRANSIENT:
        return ServerUnreachable(f"the server answered {answer.status_code}: {reason}"), None
    raise NotFound(reason) if answer.status_code == 404 else EpochdError(reason)


def _message(answer: httpx.Response) -> str:
    return _said(answer, "message") or answer.text[:500]


def _said(answer: httpx.Response, name: str) -> str | None:
    """What an answer of the server says of an error."""
    try:
        return str(answer.json()[name])
    except (ValueError, KeyError, TypeError):
        return None


def connect(ticket: AttemptTicket, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client of the server with the token of the attempt."""
    headers = {"Authorization": f"Bearer {ticket.token}"}
    return httpx.Client(
        base_url=ticket.server_url,
        headers=headers,
        timeout=REQUEST_SECONDS,
        transport=transport,
        verify=TLS,
        trust_env=False,
    )


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    while chunk := content.read(CHUNK_BYTES):
        yield chunk


def _locked(entry: Path) -> BinaryIO | None:
    """The lock of an entry of the cache, whose time of last use is updated; None unless it is complete."""
    try:
        lock = (entry / COMPLETE).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.utime(entry / COMPLETE)
    return lock


def make_room(cache: Path, cap: int, needed: int) -> None:
    """Delete entries that no process uses, the least recently used first, until ``needed`` more bytes fit ``cap`` and
    the disk, as far as possible."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    sizes: dict[Path, int] = {}
    used: dict[Path, int] = {}
    for entry in (path for path in cache.iterdir() if path.is_dir()):
        with suppress(OSError, ValueError, KeyError):
            used[entry] = (entry / COMPLETE).stat().st_mtime_ns
            sizes[entry] = json.loads((entry / COMPLETE).read_text(encoding="utf-8"))["bytes"]
    for entry in sorted(sizes, key=used.__getitem__):
        if sum(sizes.values()) + needed <= cap and needed <= shutil.disk_usage(cache).free:
            return
        if _evict(entry):
            del sizes[entry]


def _evict(entry: Path) -> bool:
    with suppress(OSError), (entry / COMPLETE).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry, ignore_errors=True)
        return True
    return False


def of(ticket: AttemptTicket, server: Server) -> SharedFolders:
    """How the worker of this ticket gets at the folders of the server."""
    if ticket.is_remote:
        return RemoteFolders(ticket, server)
    return StoredFolders(ticket, server) if ticket.is_stored else SharedFolders()


class StoredFolders(RemoteFolders):
    """For a worker on the machine of a server that keeps its folders in an object store: what is on the disk is used if
    it is what the store has."""

    def _with_data(self, ticket: AnyTicket, inputs: Inputs) -> AnyTicket:
        known = {file.path: file for file in inputs.data}
        needed = {
            name: known[path]
            for name, path in inputs.registered.items()
            if name in ticket.registered and path in known and not _is_same(ticket.registered[name], known[path])
        }
        values: dict[str, Any] = {}
        cap = getattr(ticket, "cache_mb", 20_480) << 20
        if needed:
            entry = self._entry("data", [*needed.values()], cap)
            values["registered"] = {**ticket.registered, **{name: entry / file.path for name, file in needed.items()}}
        if isinstance(ticket, PredictionTicket) and not (ticket.model_dir / files.MANIFEST).is_file():
            values["model_dir"] = self._entry("model", inputs.model, cap) / ticket.model_dir.name
        return ticket.model_copy(update=values)

    def clear(self, *folders: Path) -> None:
        """They are copies for the server."""


def _is_same(path: Path, file: RemoteFile) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (file.bytes, file.modified)


class LogSender:
    """Sends the log of an attempt to the server while it grows. A piece that cannot be sent is sent later; the log is
    never waited for."""

    def __init__(self, ticket: AttemptTicket, transport: httpx.BaseTransport | None = None) -> None:
        self._path = ticket.log_path
        self._url = f"/internal/attempts/{ticket.task_id}/log"
        self._attempt = ticket.attempt
        self._client = connect(ticket, transport)
        self._sent = 0
        self._is_begun = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log sender", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the rest, and end."""
        self._done.set()
        self._thread.join(REQUEST_SECONDS)

    def _run(self) -> None:
        with self._client:
            while not self._done.wait(LOG_SECONDS):
                self._send()
            self._send()

    def _send(self) -> None:
        """Send what is new, in pieces. A log that has been cut at its limit is sent again from its beginning, and so is
        one that another server gets; if the server is another one each time, what is left is sent later."""
        has_gone_back = False
        while True:
            try:
                with self._path.open("rb") as log:
                    size = log.seek(0, os.SEEK_END)
                    self._sent = 0 if size < self._sent else self._sent
                    log.seek(self._sent)
                    piece = log.read(LOG_BYTES)
                if not piece and self._is_begun:
                    return
                query = {"attempt": self._attempt, "offset": self._sent}
                answer = self._client.put(self._url, params=query, content=piece)
                known = int(answer.json()["size"]) if answer.is_success else None
            except (OSError, httpx.TransportError, ValueError, KeyError, TypeError):
                return
            self._is_begun |= known is not None
            is_back = known is not None and known < self._sent
            if known is None or known == self._sent or (is_back and has_gone_back):
                return
            has_gone_back |= is_back
            self._sent = known if known <= size else 0
