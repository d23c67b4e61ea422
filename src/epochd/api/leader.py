"""Requests that only the server can answer that dispatches: any other one forwards them, and passes its answer on.

The request is sent as it came, so the leader checks its token or its cookie itself. The leader's URL is that which it
has written into the database, never one of a request.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from epochd.api.deps import ServiceDep, while_connected
from epochd.api.responses import SHUTDOWN
from epochd.api.service import RETRY_SECONDS, Service
from epochd.core.errors import Busy

if TYPE_CHECKING:
    import httpx

FORWARDED = "X-Epochd-Forwarded"
"""Marks a request that another server has forwarded, so that none is sent in circles."""
NOT_PASSED_ON = frozenset(
    {"host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
)
"""Headers of one connection, or that the new request has by itself."""
KEPT_OF_ANSWER = ("content-type", "retry-after", "www-authenticate", "cache-control", "x-accel-buffering")
ANSWER_SECONDS, CONNECT_SECONDS = 60.0, 3.0
"""How long the leader may take; more than a request waits that is answered late on purpose."""


class AnsweredByLeader(Exception):
    """Raised instead of running a route; ``response`` is the answer of the leader."""

    def __init__(self, response: Response) -> None:
        super().__init__("the leader has answered")
        self.response = response


async def at_leader(request: Request, service: ServiceDep) -> None:
    """The dependency of a route that has to run in the server that dispatches; see ``AT_LEADER``.

    Raises Busy if no server dispatches, or the leader cannot be reached."""
    if service.is_leader:
        return
    url = service.leader_url
    if url is None or FORWARDED in request.headers:
        raise Busy("no server dispatches at this moment: repeat the request", RETRY_SECONDS)
    raise AnsweredByLeader(await while_connected(request, _forwarded(request, service, url, await request.body())))


AT_LEADER = Depends(at_leader)
"""Put it into the ``dependencies`` of a route. They run after those of its router, which check the token."""


async def _forwarded(request: Request, service: Service, url: str, body: bytes) -> Response:
    """The answer of the server at this URL to a request."""
    import httpx  # noqa: PLC0415 - 40 ms that a server alone does not need

    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    headers = [(name, value) for name, value in request.headers.items() if name not in NOT_PASSED_ON]
    query = request.scope["query_string"].decode("latin-1")
    target = f"{url.rstrip('/')}{quote(request.scope['path'])}" + (f"?{query}" if query else "")
    client = service.http()
    try:
        sent = client.build_request(
            request.method, target, headers=[*headers, (FORWARDED, "1")], content=body, timeout=timeout
        )
        answer = await client.send(sent, stream=True)
        kept = {name: answer.headers[name] for name in KEPT_OF_ANSWER if name in answer.headers}
        if kept.get("content-type", "").startswith("text/event-stream"):
            return StreamingResponse(_events(answer), answer.status_code, kept)
        return Response(await answer.aread(), answer.status_code, kept)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        reason = type(error).__name__
        raise Busy(
            f"the server that dispatches cannot be reached ({reason}): repeat the request", RETRY_SECONDS
        ) from None


async def _events(answer: "httpx.Response") -> AsyncIterator[bytes]:
    """The events of a stream as they come. If the leader is lost the client is told to continue elsewhere."""
    import httpx  # noqa: PLC0415

    rest = b""
    try:
        async for part in answer.aiter_bytes():
            whole, end, rest = (rest + part).rpartition(b"\n\n")
            if end:
                yield whole + end
    except httpx.TransportError:
        yield SHUTDOWN
    finally:
        await answer.aclose()


def install(app: FastAPI) -> None:
    """Register the handler that sends what the leader has answered."""
    app.add_exception_handler(AnsweredByLeader, _pass_on)


async def _pass_on(_: Request, answered: Exception) -> Response:
    assert isinstance(answered, AnsweredByLeader)
    return answered.response
