"""Middleware in front of every route: Host allow-list, Origin check, body limit, handler of unexpected exceptions.

A server on loopback may be used without a token, so web pages in a browser must not be able to reach it: the Host check
rejects a page whose own host name resolves to 127.0.0.1 (DNS rebinding), the Origin check one that posts to localhost.
All are plain ASGI, which adds no overhead to streams.
"""

import logging
from urllib.parse import parse_qs, urlsplit

from anyio import BrokenResourceError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from epochd.api.errors import answer, internal_error
from epochd.core.errors import EpochdError, Forbidden, TooLarge
from epochd.core.settings import LOOPBACK, Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

MAX_BODY_BYTES = 1 << 20
"""The maximum size of a request's body; a config with ten thousand column names takes a tenth of it."""

MAX_REPORT_BYTES = 32 << 20
"""The maximum size of a worker's report, which may contain everything since the server became unreachable."""

DATASETS_PATH = "/api/v1/datasets"
"""The path of the upload route, which has a limit of its own."""

DRAINED_BYTES = 64 << 20
"""How much of a body that is too large is read and discarded, so that the client can read the answer."""

log = logging.getLogger(__name__)


class HostGuard:
    """Rejects requests that are addressed to other hosts, or sent by pages of other hosts."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.allowed = LOOPBACK | {settings.host.lower()} | {name.lower() for name in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = self._rejection(scope) if scope["type"] == "http" else None
        if rejection is None:
            await self.app(scope, receive, send)
        else:
            await answer(rejection)(scope, receive, send)

    def _rejection(self, scope: Scope) -> Forbidden | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or host_of("//" + hosts[0]) not in self.allowed:
            given = ", ".join(hosts) or "none"
            return _forbidden(f"the Host header is {given[:200]!r}")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in SAFE_METHODS and host_of(origin) not in self.allowed:
            return _forbidden(f"the Origin header is {origin[:200]!r}")
        return None


def _forbidden(what: str) -> Forbidden:
    return Forbidden(f"{what}, which is not an allowed host. Add the host name to EPOCHD_ALLOWED_HOSTS")


def host_of(url: str) -> str | None:
    """The lower-case host name of a URL, or of an authority after ``//``, without port and brackets, or None."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if "@" in parts.netloc else parts.hostname


class BodyLimit:
    """Reads a request's body, up to the limit, before it calls the app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or _is_upload(scope):
            await self.app(scope, receive, send)
            return
        limit = MAX_REPORT_BYTES if scope["path"].startswith("/internal/") else MAX_BODY_BYTES
        try:
            body = await _read(receive, limit)
        except TooLarge as error:
            await answer(error)(scope, receive, send)
            return
        if body is not None:
            await self.app(scope, _replay(body, receive), send)


def _is_upload(scope: Scope) -> bool:
    """Whether the body is a dataset's file, which the route streams with a limit of its own."""
    if scope["method"] != "POST" or scope["path"] != DATASETS_PATH:
        return False
    content_type = Headers(scope=scope).get("content-type", "").strip().lower()
    return content_type.startswith("multipart/") or "filename" in parse_qs(scope["query_string"].decode("latin-1"))


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None if the client disconnected. Raises TooLarge."""
    chunks: list[bytes] = []
    size, more = 0, True
    while more and size <= DRAINED_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > limit:
        raise TooLarge(f"the request's body is larger than the limit of {limit:,} bytes: send a smaller one")
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that returns the body first, then the further messages of the connection."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


class UnhandledErrors:
    """Turns any exception without a handler into the one error shape, and logs it with its traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if _is_disconnect(error):
                return
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                shown = error if isinstance(error, EpochdError) else internal_error()
                await answer(shown)(scope, receive, send)


def _is_disconnect(error: Exception) -> bool:
    """Whether the only cause is a client that disconnected in the middle of an event.

    FastAPI's streams close their receiving end before they cancel the task that writes to it.
    """
    if isinstance(error, ExceptionGroup):
        return error.split(BrokenResourceError)[1] is None
    return isinstance(error, BrokenResourceError)
