"""Dependencies of the routes: the service, authorization, the JSON body, the language."""

import asyncio
import hmac
from codecs import BOM_UTF8
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from epochd.api.messages import Translator
from epochd.api.security import SAFE_METHODS
from epochd.api.service import Service
from epochd.api.sessions import COOKIE, CSRF_HEADER
from epochd.core.errors import InvalidRequest, InvalidSpec, Problem, Unauthorized, similar_names
from epochd.core.language import current
from epochd.core.settings import Settings

MAX_UNKNOWN = 20
"""How many unknown query parameters an error lists."""

T = TypeVar("T")

bearer = HTTPBearer(
    auto_error=False,
    description="One of EPOCHD_TOKENS, or that of a user of EPOCHD_USERS. A server without tokens listens on loopback "
    "only and requires none.",
)

cookie = APIKeyCookie(
    name=COOKIE,
    scheme_name="SessionCookie",
    auto_error=False,
    description="Set by `POST /api/v1/session`; the rest of its name depends on the token and the path prefix. "
    f"Requests with it that are neither GET nor HEAD need the header `{CSRF_HEADER}`, too.",
)


async def service(request: Request) -> Service:
    running: Service = request.app.state.service
    return running


ServiceDep = Annotated[Service, Depends(service)]


async def authorise(
    request: Request,
    service: ServiceDep,
    _bearer: Annotated[object, Depends(bearer)],  # this and the next one are for the OpenAPI description
    _cookie: Annotated[object, Depends(cookie)],
) -> None:
    """Raise Unauthorized or CsrfFailed for a request that ``check_access`` does not accept."""
    access = check_access(service, request.method, request.headers)
    request.state.access_ends_at, request.state.user = access.ends_at, access.user


@dataclass(frozen=True, slots=True)
class Access:
    """Who sends a request: the name of a user, None for one without a name; and when the access of the request ends, in
    Unix time: with its session, else never."""

    user: str | None = None
    ends_at: float = inf


def check_access(service: Service, method: str, headers: Headers) -> Access:
    """The access of a request.

    Raise Unauthorized unless the request has one of the server's tokens or the cookie of a session, or the server has
    no tokens; CsrfFailed for a request that changes something with the cookie alone."""
    if service.settings.requires_token and "authorization" not in headers:
        session = service.sessions.find(headers.getlist("cookie"))
        if session is not None:
            if method not in SAFE_METHODS:
                session.check_csrf(headers.get(CSRF_HEADER))
            return Access(session.user, session.expires_at)
    return Access(check_token(service.settings, bearer_token(headers)))


async def user(request: Request) -> str | None:
    """The name of the user who sends the request, which ``authorise`` has found."""
    name: str | None = request.state.user
    return name


UserDep = Annotated[str | None, Depends(user)]


def bearer_token(headers: Headers) -> str:
    """The token of the Authorization header; empty if there is none."""
    scheme, token = get_authorization_scheme_param(headers.get("authorization"))
    return token if scheme.lower() == "bearer" else ""


def check_token(settings: Settings, given: str, also: Sequence[SecretStr] = ()) -> str | None:
    """The name of the user with this token; None for a user without a name. Raise Unauthorized unless this is one of
    the server's tokens, or of those that are ``also`` valid here, or the server has none."""
    if not settings.requires_token and not also:
        return None
    if not given:
        raise Unauthorized("a token is required: send the header 'Authorization: Bearer <token>'")
    known = [*settings.access_tokens, *((token.get_secret_value(), None) for token in also)]
    # No early exit: the response time must not reveal which token is similar.
    is_given = [hmac.compare_digest(given.encode(), token.encode()) for token, _ in known]
    if not any(is_given):
        raise Unauthorized("the token is not one of this server's tokens (EPOCHD_TOKENS, EPOCHD_USERS)")
    return known[is_given.index(True)][1]


async def translator() -> Translator:
    return Translator(current.get())


TranslatorDep = Annotated[Translator, Depends(translator)]


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body, which must be one JSON object whatever its content type is."""
    try:
        value = from_json((await request.body()).removeprefix(BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise InvalidSpec([Problem("body", f"not valid JSON: {error}", "send one JSON object")]) from None
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number or a boolean")
        raise InvalidSpec([Problem("body", f"a JSON object is required, but {kind} was given")])
    return value


async def optional_json_object(request: Request) -> dict[str, Any]:
    """The request's body, or an empty object if there is none."""
    return await json_object(request) if (await request.body()).removeprefix(BOM_UTF8).strip() else {}


async def known_parameters(request: Request) -> None:
    """Raise InvalidRequest for a query parameter that the route does not have."""
    route = request.scope["route"]
    known = set(_query_names(route.dependant))
    problems = []
    for name in sorted(set(request.query_params) - known)[:MAX_UNKNOWN]:
        nearest = similar_names(name[:200], known, 1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known parameters: {', '.join(sorted(known)) or 'none'}"
        problems.append(Problem(name[:200], f"unknown query parameter {name[:200]!r}", hint))
    if problems:
        raise InvalidRequest("; ".join(f"{p.message}: {p.hint}" for p in problems), problems)


KNOWN_PARAMETERS = [Depends(known_parameters)]
AUTHORISED = [Depends(authorise), *KNOWN_PARAMETERS]
"""The dependencies of routes that require a token. A router has them, its prefix and its tag from the start: FastAPI
analyses each route when it is declared, and again if its router is included in another one."""


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


JsonObject = Annotated[dict[str, Any], Depends(json_object)]


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled if the client disconnects. Raises ClientDisconnect then."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    running, disconnect = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({running, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        return running.result()
    finally:
        disconnect.cancel()
        running.cancel()
        await asyncio.gather(running, disconnect, return_exceptions=True)
