"""Dependencies of the routes: the service, authorization, the JSON body, the language."""

import asyncio
import hmac
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from epochd.api.messages import Translator, preferred_language
from epochd.api.service import Service
from epochd.core.errors import InvalidSpec, Problem, Unauthorized

T = TypeVar("T")

bearer = HTTPBearer(
    auto_error=False,
    description="One of EPOCHD_TOKENS. A server without tokens listens on loopback only and requires none.",
)

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def service(request: Request) -> Service:
    running: Service = request.app.state.service
    return running


ServiceDep = Annotated[Service, Depends(service)]


async def authorise(service: ServiceDep, credentials: Credentials) -> None:
    """Raise Unauthorized unless the request has one of the server's tokens, or the server has none."""
    if not service.settings.tokens:
        return
    if credentials is None:
        raise Unauthorized("a token is required: send the header 'Authorization: Bearer <token>'")
    given, tokens = credentials.credentials.encode(), [token.get_secret_value() for token in service.settings.tokens]
    # No early exit: the response time must not reveal which token is similar.
    if not any([hmac.compare_digest(given, token.encode()) for token in tokens]):
        raise Unauthorized("the token is not one of this server's tokens (EPOCHD_TOKENS)")


async def translator(request: Request) -> Translator:
    return Translator(preferred_language(request.headers.get("accept-language")))


TranslatorDep = Annotated[Translator, Depends(translator)]


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body, which must be one JSON object whatever its content type is."""
    try:
        value = from_json(await request.body(), allow_inf_nan=False)
    except ValueError as error:
        raise InvalidSpec([Problem("body", f"not valid JSON: {error}", "send one JSON object")]) from None
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number or a boolean")
        raise InvalidSpec([Problem("body", f"a JSON object is required, but {kind} was given")])
    return value


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
