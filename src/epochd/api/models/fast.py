"""Small predictions without the routing and the dependencies of FastAPI, which take several times as long as they do.

``FastPrediction`` answers a request only if it is certain of the answer: rows as JSON, no options, a model that is
loaded, values that need no conversion. Everything else goes to the route, which gives the same answer, or the error.
"""

import asyncio
import re
from collections import deque

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from epochd.api.bodies import BODY_SECONDS, charset_of, suffix_of
from epochd.api.deps import check_access
from epochd.api.errors import answer as error_answer
from epochd.api.models.prediction import answered_here
from epochd.api.security import MODELS_PATH, route_path
from epochd.api.service import Service
from epochd.core.errors import BadRequest, EpochdError
from epochd.serving import rows
from epochd.serving.answers import JSON, Options, accepted

PATH = re.compile(rf"{MODELS_PATH}/(.+?)(?:/versions/([^/]+))?/predict")
FAST_BYTES = 1 << 16
"""The largest body that is parsed here: about a millisecond."""
LATE = f"the request's body did not arrive within {BODY_SECONDS:g} s"
DEFAULTS = Options()


class FastPrediction:
    """Answers small predictions, and passes all other requests on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith("/predict"):
            found = PATH.fullmatch(route_path(scope))
            if found is not None and not scope["query_string"]:
                await self._predict(scope, receive, send, found[1], found[2])
                return
        await self.app(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send, model: str, version: str | None) -> None:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                messages, body = await _first_messages(receive)
        except TimeoutError:
            await error_answer(BadRequest(LATE), {"Connection": "close"})(scope, receive, send)
            return
        if body is not None:
            service: Service = scope["app"].state.service
            found = _answer(service, Headers(scope=scope), model, version, body)
            if found is not None:
                await Response(found, media_type=JSON)(scope, receive, send)
                return

        async def replay() -> Message:
            return messages.popleft() if messages else await receive()

        await self.app(scope, replay, send)


async def _first_messages(receive: Receive) -> tuple[deque[Message], bytes | None]:
    """The messages of a small body, and the body; or those that have been received when it is larger, and None."""
    messages: deque[Message] = deque()
    size, more = 0, True
    while more and size <= FAST_BYTES:
        messages.append(message := await receive())
        if message["type"] != "http.request":
            return messages, None
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    is_whole = not more and size <= FAST_BYTES
    return messages, b"".join(message.get("body", b"") for message in messages) if is_whole else None


def _answer(service: Service, headers: Headers, model: str, version: str | None, body: bytes) -> bytes | None:
    """The body of the answer; None if the route has to answer."""
    content_type = headers.get("content-type", "")
    if suffix_of(content_type) != rows.JSON_SUFFIX or accepted(headers.get("accept", "")) != JSON:
        return None
    try:
        encoding = charset_of(content_type) if ";" in content_type else None
        check_access(service, "POST", headers)
        served = service.models.loaded(model, version)
        if served is None:
            return None
        return answered_here(served, rows.parse(body, service.settings.predict_rows, encoding), DEFAULTS)
    except EpochdError:
        return None
