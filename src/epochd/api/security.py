"""What stands before every route: Host allow-list, Origin check, body limit, and the last net for faults.

A server on loopback is open without a token, so it must not be reachable through a browser: a page that
points its own name at 127.0.0.1 (DNS rebinding) is stopped by the Host check, one that posts to localhost
by the Origin check. These are plain ASGI so that they cost streams nothing.
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
"""A request's largest body; a config with ten thousand column names takes a tenth of it."""

MAX_REPORT_BYTES = 32 << 20
"""The largest body of a worker's report, which may carry what a server's absence piled up."""

DATASETS_PATH = "/api/v1/datasets"
"""Where files are uploaded to; the route itself counts their bytes."""

DRAINED_BYTES = 64 << 20
"""How much of a body that is too large is read away, so that the client gets to see the answer."""

log = logging.getLogger(__name__)


class HostGuard:
    """Refuses requests addressed to, or sent by pages of, hosts that are not this server."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.allowed = LOOPBACK | {settings.host.lower()} | {name.lower() for name in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await answer(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Forbidden | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or host_of("//" + hosts[0]) not in self.allowed:
            given = ", ".join(hosts) or "no host at all"
            return _forbidden(f"the request is addressed to {given[:200]!r}")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in SAFE_METHODS and host_of(origin) not in self.allowed:
            return _forbidden(f"the request comes from a page of {origin[:200]!r}")
        return None


def _forbidden(what: str) -> Forbidden:
    return Forbidden(f"{what}, which this server does not answer to. Add the host name to EPOCHD_ALLOWED_HOSTS")


def host_of(url: str) -> str | None:
    """The lower-case host name of a URL, or of an authority after ``//``; None when there is none.

    Ports and the brackets of IPv6 literals are stripped.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if "@" in parts.netloc else parts.hostname


class BodyLimit:
    """Reads a request's body, up to the limit, before the app sees the request."""

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
    """Whether the body is a dataset's file: the route takes it in piece by piece, with a limit of its own."""
    if scope["method"] != "POST" or scope["path"] != DATASETS_PATH:
        return False
    content_type = Headers(scope=scope).get("content-type", "").strip().lower()
    return content_type.startswith("multipart/") or "filename" in parse_qs(scope["query_string"].decode("latin-1"))


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None when the client went away. Raises TooLarge."""
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
        raise TooLarge(f"the request's body is larger than {limit:,} bytes; a training config needs far less")
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body first, and then whatever the connection says."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


class FaultNet:
    """Turns any exception that no handler knew into the one error shape, and logs it with its traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if _is_hangup(error):
                return
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                fault = error if isinstance(error, EpochdError) else internal_error()
                await answer(fault)(scope, receive, send)


def _is_hangup(error: Exception) -> bool:
    """Whether nothing happened but that a client left in the middle of an event.

    FastAPI's streams close their receiving end before they cancel the task that writes to it.
    """
    if isinstance(error, ExceptionGroup):
        return error.split(BrokenResourceError)[1] is None
    return isinstance(error, BrokenResourceError)
