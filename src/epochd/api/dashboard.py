"""The dashboard: the page, its scripts and styles, as ``npm run build`` in ``web`` writes them.

The page is the same at each of its addresses; its scripts decide what to show. They ask the API for everything, with
the cookie of a session where the server has tokens, so the page itself needs none. Its policy lets a browser load
nothing from elsewhere and run no script that is not a file of the build.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from epochd.core.settings import Settings

BUILT = Path(__file__).parent / "static"
"""Where the build is; absent in a source checkout until ``make setup``."""
ADDRESSES = ("/", "/tasks", "/start", "/compare", "/models", "/datasets", "/system")
"""The addresses of pages; each but the first may have further parts."""
ASSETS = "/assets"
POLICY = "; ".join(
    [
        "default-src 'self'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
FOREVER = "public, max-age=31536000, immutable"
"""For files whose names contain a hash of their content."""
BASE = b'<base href="/"'
"""In the built page: the path that its relative addresses begin with."""
NOT_BUILT = Path(__file__).parent / "not_built.html"


class Assets(StaticFiles):
    """The files of the build, which never change under their names."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = FOREVER
        response.headers.update({name: HEADERS[name] for name in ("X-Content-Type-Options", "Referrer-Policy")})
        return response


def install(app: FastAPI, settings: Settings, built: Path = BUILT) -> None:
    """Add the routes of the pages and of their files; ``built`` is the folder of the build."""

    async def page(request: Request) -> Response:
        return _page(built, settings.root_path)

    for address in ADDRESSES:
        for path in [address] if address == "/" else [address, f"{address}/{{rest:path}}"]:
            app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
    files = Assets(directory=built / ASSETS.strip("/"), check_dir=False)
    app.mount(ASSETS, GZipMiddleware(files, minimum_size=1024), name="assets")


def _page(built: Path, prefix: str) -> Response:
    """The page with the path prefix of the server; one that says how to build it, if it is not built."""
    headers = {**HEADERS, "Cache-Control": "no-cache"}
    index = built / "index.html"
    page, status = (index, 200) if index.is_file() else (NOT_BUILT, 404)
    prefixed = page.read_bytes().replace(BASE, b'<base href="%s/"' % prefix.encode(), 1)
    return HTMLResponse(prefixed, status, headers)
