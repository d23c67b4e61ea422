"""Middleware in front of every route: path prefix, Host allow-list, Origin check, body limit, unexpected exceptions.

A server on loopback may be used without a token, so web pages in a browser must not be able to reach it: the Host check
rejects a page whose own host name resolves to 127.0.0.1 (DNS rebinding), the Origin check one that posts to localhost.
All are plain ASGI, which adds no overhead to streams.
"""

import asyncio
import logging
from urllib.parse import parse_qs, urlsplit

from anyio import BrokenResourceError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from epochd.api.errors import answer
from epochd.api.loop_watchdog import name_request
from epochd.core.errors import BadRequest, Forbidden, TooLarge
from epochd.core.settings import LOOPBACK, Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DATASETS_PATH, MODELS_PATH = "/api/v1/datasets", "/api/v1/models"
ROWS = {f"{MODELS_PATH}/": "/predict", "/v2/models/": "/infer", "/serving/": "/invocations"}
"""The paths of predictions: how they begin and how they end."""
MAX_BODY_BYTES = 1 << 20
"""The maximum size of a request's body; a config with ten thousand column names takes a tenth of it."""
WORKERS_PATH = "/internal/"
MAX_REPORT_BYTES = 8 << 20
"""The maximum size of a worker's request: a worker sends half a mebibyte of reports at once, or one larger report."""
BODY_SECONDS = 60.0
"""How long such a body may take to arrive."""
DRAINED_BYTES = 64 << 20
"""How much of a body that is too large is read and discarded, so that the client can read the answer."""

log = logging.getLogger(__name__)


class RootPath:
    """Serves the app under the prefix of EPOCHD_ROOT_PATH, whether the proxy in front strips it from paths or not."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.prefix:
            path = scope["path"]
            if path == self.prefix:
                path = f"{path}/"
            elif not path.startswith(f"{self.prefix}/"):
                path = self.prefix + path
            scope = {**scope, "root_path": self.prefix, "path": path}
        await self.app(scope, receive, send)


class HostGuard:
    """Rejects requests that are addressed to other hosts, or sent by pages of other hosts."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        own = {host_of(url) or "" for url in (settings.public_url, settings.advertise_url) if url}
        self.allowed = LOOPBACK | {settings.host.lower()} | own | {name.lower() for name in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        foreign = self._foreign_header(scope) if scope["type"] == "http" else None
        if foreign is None:
            await self.app(scope, receive, send)
            return
        advice = "which is not an allowed host. Add the host name to EPOCHD_ALLOWED_HOSTS"
        refused = answer(Forbidden(f"the {foreign}, {advice}"), path=route_path(scope))
        await refused(scope, receive, send)

    def _foreign_header(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts, origin = headers.getlist("host"), headers.get("origin")
        if len(hosts) != 1 or host_of("//" + hosts[0]) not in self.allowed:
            return f"Host header is {(', '.join(hosts) or 'none')[:200]!r}"
        if origin is not None and scope["method"] not in SAFE_METHODS and host_of(origin) not in self.allowed:
            return f"Origin header is {origin[:200]!r}"
        return None


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
        limit = MAX_REPORT_BYTES if route_path(scope).startswith(WORKERS_PATH) else MAX_BODY_BYTES
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(receive, limit)
        except TimeoutError:
            late = BadRequest(f"the request's body did not arrive within {BODY_SECONDS:g} s")
            await answer(late, {"Connection": "close"}, path=route_path(scope))(scope, receive, send)
            return
        except TooLarge as error:
            await answer(error, path=route_path(scope))(scope, receive, send)
            return
        if body is None:
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, replay, send)


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The body, or None if the client disconnects. Raises TooLarge."""
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
            chunks.clear()  # the rest is read and discarded
    if size > limit:
        raise TooLarge(f"the request's body is larger than the limit of {limit:,} bytes: send a smaller one")
    return b"".join(chunks)


def route_path(scope: Scope) -> str:
    """The path without the prefix of EPOCHD_ROOT_PATH."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _is_upload(scope: Scope) -> bool:
    """Whether the body is a file of a dataset or of a worker, or rows to predict, which the route streams with a limit
    of its own."""
    path = route_path(scope)
    if scope["method"] == "PUT" and path.startswith(WORKERS_PATH) and "/files/" in path:
        return True
    if scope["method"] == "POST" and path.startswith(tuple(ROWS)) and path.endswith(tuple(ROWS.values())):
        return True
    if scope["method"] != "POST" or path != DATASETS_PATH:
        return False
    content_type = Headers(scope=scope).get("content-type", "").strip().lower()
    return content_type.startswith("multipart/") or "filename" in parse_qs(scope["query_string"].decode("latin-1"))


class UnhandledErrors:
    """Turns any exception without a handler into the one error shape, and logs it with its traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name_request(f"{scope['method']} {scope['path'][:200]}")
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            # FastAPI's streams close their receiving end before they cancel the task that writes to it, so a client
            # that disconnects in the middle of an event causes a BrokenResourceError.
            group = error if isinstance(error, ExceptionGroup) else ExceptionGroup("", [error])
            if group.split((BrokenResourceError, ClientDisconnect))[1] is None:
                return
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                await answer(error, path=route_path(scope))(scope, receive, send)
