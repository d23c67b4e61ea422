"""The routes by which a browser logs in with a token, asks whether it is logged in, and logs out.

They need no token themselves. Only JSON is accepted, because a page of another origin cannot send it without a
permission that this server never gives: no other page can log a browser in.
"""

from fastapi import APIRouter, Depends, Request, Response

from epochd.api.bodies import media_type
from epochd.api.deps import KNOWN_PARAMETERS, JsonObject, ServiceDep, check_token
from epochd.api.responses import ErrorShape, json_body
from epochd.api.service import Service
from epochd.api.sessions import CSRF_HEADER, SECONDS, Session
from epochd.api.system.responses import SessionState
from epochd.core.errors import InvalidRequest, Problem, UnsupportedMediaType
from epochd.core.text import shown

router = APIRouter(prefix="/api/v1/session", tags=["session"], dependencies=KNOWN_PARAMETERS)


async def json_only(request: Request) -> None:
    """Raise UnsupportedMediaType for a body that a form could have sent."""
    content_type = media_type(request.headers.get("content-type", ""))
    if content_type != "application/json":
        given = shown(content_type, 80) if content_type else "missing"
        raise UnsupportedMediaType(f"the Content-Type is {given}: send application/json")


@router.get("", operation_id="get_session", summary="Ask whether this browser is logged in")
async def session(request: Request, response: Response, service: ServiceDep) -> SessionState:
    """Whether a token is required, and the CSRF token of the session that the cookie names."""
    return _state(service, response, service.sessions.find(request.headers.getlist("cookie")))


@router.post(
    "",
    operation_id="log_in",
    summary="Log a browser in with a token",
    dependencies=[Depends(json_only)],
    responses={
        401: {"model": ErrorShape, "description": "The token is wrong"},
        415: {"model": ErrorShape, "description": "The Content-Type is not application/json"},
    },
    openapi_extra=json_body("LoginBody"),
)
async def log_in(request: Request, response: Response, values: JsonObject, service: ServiceDep) -> SessionState:
    """Set a cookie that lasts seven days and does not contain the token. Requests with it that are neither GET nor HEAD
    need the header `X-CSRF-Token`. A server without tokens sets none.
    """
    token = values.get("token")
    if values.keys() != {"token"} or not isinstance(token, str) or not token:
        # What was given is not shown: it may be a secret.
        message, hint = "the body must have the field 'token', a text, and no other", 'send {"token": "..."}'
        raise InvalidRequest(f"{message}; {hint}", [Problem("token", message, hint)])
    check_token(service.settings, token)
    if not service.settings.requires_token:
        return _state(service, response, None)
    opened = service.sessions.open(token)
    for name in service.sessions.names(request.headers.getlist("cookie")) - {opened.cookie}:
        _set_cookie(service, request, response, name, "", 0)
    _set_cookie(service, request, response, opened.cookie, opened.value, SECONDS)
    return _state(service, response, opened)


@router.delete("", operation_id="log_out", summary="Log a browser out")
async def log_out(request: Request, response: Response, service: ServiceDep) -> SessionState:
    """Clear the cookie. Needs the header `X-CSRF-Token` while the session is valid."""
    cookies = request.headers.getlist("cookie")
    found = service.sessions.find(cookies)
    if found is not None:
        found.check_csrf(request.headers.get(CSRF_HEADER))
    for name in service.sessions.names(cookies):
        _set_cookie(service, request, response, name, "", 0)
    return _state(service, response, None)


def _set_cookie(service: Service, request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """Set a cookie that no script can read and no other site can use; an age of 0 removes it."""
    # Behind a proxy whose headers are not trusted the scheme is that of the proxy's request; the page's is in Origin.
    is_secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        name, value, seconds, path=service.sessions.path, secure=is_secure, httponly=True, samesite="strict"
    )


def _state(service: Service, response: Response, found: Session | None) -> SessionState:
    response.headers["Cache-Control"] = "no-store"
    return SessionState(
        token_required=service.settings.requires_token,
        logged_in=found is not None,
        user=None if found is None else found.user,
        csrf_token=None if found is None else found.csrf_token,
        expires_at=None if found is None else found.expires_at,
    )
