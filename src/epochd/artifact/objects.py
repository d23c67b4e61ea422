"""The objects of one store: S3 and what speaks like it, Google Cloud Storage, Azure, or a folder.

What a store answers is not taken for the truth at once: errors and connections that break are tried again, an object
that has just been written may not be found for a moment, and a file counts only with its SHA-256. Who writes only on a
condition (``create``, ``replace``) finds out who was first. ``obstore`` is imported with the first store.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from epochd.artifact import files
from epochd.core.errors import Busy, CorruptFile, OutOfSpace, SettingsError
from epochd.core.installation import install_command

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

logger = logging.getLogger(__name__)

RETRY_SECONDS, FIRST_DELAY, LAST_DELAY = 20.0, 0.1, 2.0
"""How long an operation is tried again, and the seconds between two tries."""
STALE_SECONDS = 5.0
"""How long an object that has to exist may not be found."""
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4
SIGNED_BYTES = 4 << 30
"""The largest file that one request can send: S3 takes 5 GiB."""
CLIENT_OPTIONS = frozenset(
    {"allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "proxy_url", "proxy_ca_certificate"}
)
"""Those of ``EPOCHD_STORAGE_OPTIONS`` that are not the store's own."""
WAIT_SECONDS = 5
"""When a request that needs the store is to be repeated."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A small object. ``modified`` is in seconds since the Unix epoch; ``e_tag`` and ``version`` are what a condition
    names."""

    content: bytes
    e_tag: str | None
    version: str | None
    modified: float


@dataclass(frozen=True, slots=True)
class About:
    """What is known of an object without reading it. ``modified`` is in nanoseconds since the Unix epoch."""

    bytes: int
    e_tag: str | None
    modified: int


class Objects:
    """The objects below one place of a store, which ``url`` names. Keys have the form ``folder/name``.

    All methods raise Busy if the store does not do what it is asked for within ``RETRY_SECONDS``."""

    def __init__(self, store: "ObjectStore", url: str) -> None:
        self._store, self.url = store, url
        self._is_closed = threading.Event()
        self.can_sign = type(store).__name__ in {"S3Store", "GCSStore", "AzureStore"}
        """Whether others can be given a URL for one object and a short time."""

    @classmethod
    def opened(cls, url: str, options: Mapping[str, str]) -> "Objects":
        """The place of this URL; it is not connected to yet. Raises SettingsError."""
        try:
            from obstore.exceptions import BaseError  # noqa: PLC0415 - only servers with a store need it
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError:
            raise SettingsError(f"{url} needs the package obstore. Run: {install_command('storage')}") from None
        client = {name: value for name, value in options.items() if name in CLIENT_OPTIONS}
        arguments: dict[str, Any] = {
            "config": {name: value for name, value in options.items() if name not in client},
            "client_options": {"timeout": "30s", "connect_timeout": "5s"} | client,
            "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        }
        try:
            return cls(
                from_url(url, **({"mkdir": True, "automatic_cleanup": True} if url.startswith("file:") else arguments)),
                url,
            )
        except (BaseError, ValueError, TypeError, OSError) as error:
            raise SettingsError(f"cannot use {url}: {_reason(error)}") from None

    def close(self) -> None:
        """Try nothing again from now on."""
        self._is_closed.set()

    def probe(self) -> None:
        """Write an object, also on conditions, and delete it; see whether a URL can be signed. Raises SettingsError if
        the store cannot be written to, or does not keep conditions."""
        key = f".epochd-{time.time_ns():x}"
        try:
            self.put(key, b"")
            if not self._is_folder:
                self._probe_conditions(key)
            self.delete([key])
        except Busy as error:
            raise SettingsError(
                f"cannot write to {self.url}: {error.message}. Check the bucket, its permissions and "
                "EPOCHD_STORAGE_OPTIONS"
            ) from None
        if self.can_sign:
            self._probe_signing(key)

    def _probe_conditions(self, key: str) -> None:
        """Raise SettingsError unless one who has not seen the newest content of an object is refused."""
        seen = self.read(key, must_exist=True)
        is_kept = seen is not None and not self.create(key, b"1")
        is_kept = is_kept and seen is not None and self.replace(key, b"2", seen) and not self.replace(key, b"3", seen)
        if not is_kept:
            self.delete([key])
            raise SettingsError(
                f"cannot use {self.url}: it does not write on a condition (If-None-Match, If-Match), without which a "
                "stale attempt could replace the results of another. Use another store"
            )

    def _probe_signing(self, key: str) -> None:
        """Find out whether the credentials allow to sign, which those of some machines do not."""
        import obstore  # noqa: PLC0415
        from obstore.exceptions import BaseError  # noqa: PLC0415

        sign: Any = obstore.sign
        try:
            sign(self._store, "GET", [key], timedelta(seconds=60))
        except (BaseError, ValueError, OSError) as error:
            self.can_sign = False
            reason = _reason(error)
            logger.warning("%s signs no URLs, so the server passes all files on: %s", self.url, reason)

    @property
    def _is_folder(self) -> bool:
        return type(self._store).__name__ == "LocalStore"

    def signed(self, method: str, keys: list[str], seconds: float) -> list[str]:
        """A URL for each key, which allows one method for so long."""
        import obstore  # noqa: PLC0415

        sign: Any = obstore.sign
        found: list[str] | None = self._patiently(lambda: sign(self._store, method, keys, timedelta(seconds=seconds)))
        return list(found or ())

    def read(self, key: str, *, must_exist: bool = False) -> Stored | None:
        """A small object; None if there is none. One that ``must_exist`` is waited for a moment."""
        import obstore  # noqa: PLC0415

        def get() -> Stored:
            found = obstore.get(self._store, key)
            content = bytes(found.bytes())
            if len(content) != found.meta["size"]:
                raise ConnectionError(f"{key} has {found.meta['size']} bytes, and {len(content)} were received")
            meta = found.meta
            return Stored(content, meta["e_tag"], meta["version"], meta["last_modified"].timestamp())

        return self._patiently(get, stale=STALE_SECONDS if must_exist else 0.0)

    def about(self, key: str, *, must_exist: bool = False) -> About | None:
        """What is known of an object; None if there is none."""
        import obstore  # noqa: PLC0415

        found = self._patiently(lambda: obstore.head(self._store, key), stale=STALE_SECONDS if must_exist else 0.0)
        if found is None:
            return None
        return About(found["size"], found["e_tag"], int(found["last_modified"].timestamp() * 1000) * 1_000_000)

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object, large files in several parts."""
        import obstore  # noqa: PLC0415

        size = content.stat().st_size if isinstance(content, Path) else len(content)
        many: dict[str, Any] = {"chunk_size": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
        options = many if size > PART_BYTES else {"use_multipart": False}
        self._patiently(lambda: obstore.put(self._store, key, content, **options))

    def create(self, key: str, content: bytes) -> bool:
        """Write an object unless it exists; whether it has this content now."""
        return self._put_if(key, content, "create")

    def replace(self, key: str, content: bytes, seen: Stored) -> bool:
        """Write an object unless another one has been written since it was ``seen``; whether it has this content now.
        A folder cannot tell, and is written to at once."""
        known = {"e_tag": seen.e_tag, "version": seen.version}  # Google Cloud Storage compares the version
        return self._put_if(key, content, {name: value for name, value in known.items() if value is not None})

    def _put_if(self, key: str, content: bytes, mode: Any) -> bool:
        import obstore  # noqa: PLC0415
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415

        def put() -> bool:
            try:
                obstore.put(self._store, key, content, mode=mode, use_multipart=False)
            except NotImplementedError as error:
                if not self._is_folder:
                    raise Busy(f"{self.url} does not write on a condition: {_reason(error)}", WAIT_SECONDS) from None
                obstore.put(self._store, key, content, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        if self._patiently(put):
            return True
        # An earlier try may have succeeded, and only its answer was lost.
        found = self.read(key, must_exist=True)
        return found is not None and found.content == content

    def fetch(self, key: str, target: Path, size: int, sha256: str | None, e_tag: str | None = None) -> None:
        """Write an object to a file. Raises CorruptFile if it differs, FileNotFoundError if there is none, and
        OutOfSpace. With ``e_tag`` only this version is read."""
        for is_last in (False, True):
            found = self._fetched(key, target, size, e_tag)
            if sha256 is None or found == sha256:
                return
            if is_last:
                raise CorruptFile(f"{key} in {self.url} is damaged: its SHA-256 is {found}")

    def _fetched(self, key: str, target: Path, size: int, e_tag: str | None) -> str:
        import obstore  # noqa: PLC0415

        digest = hashlib.sha256()
        with target.open("wb") as file:
            for start in range(0, size, PART_BYTES):
                end = min(start + PART_BYTES, size)

                def part(start: int = start, end: int = end) -> bytes:
                    options: Any = {"range": (start, end)} | ({"if_match": e_tag} if e_tag else {})
                    found = bytes(obstore.get(self._store, key, options=options).bytes())
                    if len(found) != end - start:
                        raise ConnectionError(f"{len(found)} bytes of {key} were received, not {end - start}")
                    return found

                found = self._patiently(part, stale=STALE_SECONDS)
                if found is None:
                    raise FileNotFoundError(f"{key} is missing in {self.url}")
                digest.update(found)
                file.write(found)
        return digest.hexdigest()

    def sizes(self, folder: str) -> dict[str, int]:
        """Key → bytes of all objects in a folder, however deep."""
        import obstore  # noqa: PLC0415

        def listed() -> dict[str, int]:
            return {one["path"]: one["size"] for page in obstore.list(self._store, f"{folder}/") for one in page}

        return self._patiently(listed) or {}

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder."""
        import obstore  # noqa: PLC0415

        found = self._patiently(lambda: obstore.list_with_delimiter(self._store, f"{folder}/"))
        return sorted(path.rpartition("/")[2] for path in (found or {"common_prefixes": []})["common_prefixes"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are gone already."""
        import obstore  # noqa: PLC0415

        if type(self._store).__name__ == "S3Store":  # one request for up to a thousand, which minds no missing one
            if all_keys := list(keys):
                self._patiently(lambda: obstore.delete(self._store, all_keys))
            return
        for key in keys:
            self._patiently(lambda key=key: obstore.delete(self._store, key))  # type: ignore[misc]

    def _patiently(self, act: Callable[[], T], *, stale: float = 0.0) -> T | None:
        """The result of an operation, which is repeated after an error that may pass; None for what does not exist,
        also after ``stale`` seconds. Raises Busy, OutOfSpace."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        began, delay = time.monotonic(), FIRST_DELAY
        while True:
            try:
                return act()
            except FileNotFoundError:
                if time.monotonic() - began >= stale:
                    return None
            except (BaseError, OSError) as error:
                if files.is_full(error):
                    raise OutOfSpace(f"there is no space: {_reason(error)}") from None
                if _is_final(error) or time.monotonic() - began >= RETRY_SECONDS:
                    raise Busy(f"the object store {self.url} fails: {_reason(error)}", WAIT_SECONDS) from None
            if self._is_closed.wait(delay):
                raise Busy("the server ends", WAIT_SECONDS)
            delay = min(2 * delay, LAST_DELAY)


def _is_final(error: Exception) -> bool:
    """Whether another try would fail, too."""
    from obstore import exceptions  # noqa: PLC0415

    lasting = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, exceptions.PreconditionError)
    return isinstance(error, (*lasting, exceptions.InvalidPathError))


def _reason(error: Exception) -> str:
    """What a store says, in one line, without the inner values of the library."""
    text = str(error).partition("\n\nDebug source")[0]
    return " ".join(text.split())[:500] or type(error).__name__
