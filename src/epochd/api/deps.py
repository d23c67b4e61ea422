"""Dependencies of the routes: the service, authorization, the JSON body, the language."""

import hmac
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import from_json

from epochd.api.messages import Translator, preferred_language
from epochd.api.service import Service
from epochd.core.errors import InvalidSpec, Problem, Unauthorized

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
