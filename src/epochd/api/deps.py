"""What routes ask for: the open service, the caller's right to be here, the body, the language."""

import hmac
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import from_json

from epochd.api.messages import Speaker, preferred
from epochd.api.service import Service
from epochd.core.errors import InvalidSpec, Problem, Unauthorized

bearer = HTTPBearer(
    auto_error=False,
    description="One of EPOCHD_TOKENS. A server without tokens listens on loopback only and needs none.",
)

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def service(request: Request) -> Service:
    opened = request.app.state.service
    assert isinstance(opened, Service)
    return opened


Opened = Annotated[Service, Depends(service)]


async def authorise(service: Opened, credentials: Credentials) -> None:
    """Let the request through if the server has no tokens, or if it carries one of them."""
    tokens = [token.get_secret_value() for token in service.settings.tokens]
    if not tokens:
        return
    if credentials is None:
        raise Unauthorized("this server wants a token: send the header 'Authorization: Bearer <token>'")
    given = credentials.credentials.encode()
    # No early exit: the time taken must not tell which token came close.
    if not any([hmac.compare_digest(given, token.encode()) for token in tokens]):
        raise Unauthorized("the token given is not one of this server's (EPOCHD_TOKENS)")


async def speaker(request: Request) -> Speaker:
    return Speaker(preferred(request.headers.get("accept-language")))


Speaking = Annotated[Speaker, Depends(speaker)]


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body, which must be one JSON object, whatever its content type says."""
    try:
        value = from_json(await request.body(), allow_inf_nan=False)
    except ValueError as error:
        raise InvalidSpec([Problem("body", f"not valid JSON: {error}", "send one JSON object")]) from None
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number or a boolean")
        raise InvalidSpec([Problem("body", f"a JSON object is expected, but {kind} was given")])
    return value


JsonObject = Annotated[dict[str, Any], Depends(json_object)]
