"""Sessions of browsers: a cookie that proves that its holder has sent a token of the server, without containing it.

A session is stored nowhere: its value is signed with a key that is derived from its token and the path prefix. It
outlives a restart, is valid at every server with this token and prefix, and ends when the token is removed.

A browser sends the cookies of a host to all its ports, so the name of the cookie is derived from the key, too: servers
with other tokens or prefixes do not replace each other's. For the same reason, a page at another port can send requests
with the cookie, ``SameSite`` or not. It cannot read the CSRF token that requests need which change something.
"""

import hmac
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from epochd.core.errors import CsrfFailed
from epochd.core.settings import Settings

COOKIE = "epochd_session"
"""How the names of the cookies begin."""
CSRF_HEADER = "X-CSRF-Token"
SECONDS = 7 * 86_400
"""How long a session lasts."""


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session: its cookie, the end of it in Unix time, the CSRF token that belongs to it alone, and the name of
    its user; None for one without a name."""

    cookie: str
    value: str
    expires_at: int
    csrf_token: str
    user: str | None = None

    def check_csrf(self, given: str | None) -> None:
        """Raise CsrfFailed unless this is the session's CSRF token."""
        if given is None or not hmac.compare_digest(given.encode(), self.csrf_token.encode()):
            reason = (
                "the header X-CSRF-Token is missing" if given is None else "the CSRF token is not that of the session"
            )
            hint = "send the csrf_token of GET /api/v1/session, or a token in the header 'Authorization'"
            raise CsrfFailed(f"{reason}; {hint}")


class SessionKey:
    """Opens and verifies the sessions of one token, that of a named user or of one without a name."""

    def __init__(self, token: str, prefix: str, user: str | None = None) -> None:
        self._user = user
        self._key = hmac.digest(token.encode(), f"epochd session {prefix}".encode(), "sha256")
        self.cookie = f"{COOKIE}_{self._sign('cookie')[:12]}"

    def open(self) -> Session:
        return self._session(f"{secrets.token_urlsafe(16)}.{int(time.time()) + SECONDS}")

    def verified(self, value: str) -> Session | None:
        """The session with this value, unless it was made with another key or has ended."""
        content, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(f"session {content}").encode()):
            return None
        session = self._session(content)
        return session if time.time() < session.expires_at else None

    def _session(self, content: str) -> Session:
        value = f"{content}.{self._sign(f'session {content}')}"
        return Session(self.cookie, value, int(content.rpartition(".")[2]), self._sign("csrf " + value), self._user)

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()


class Sessions:
    """The sessions of one server."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.root_path
        self._users = dict(settings.access_tokens)
        keys = [SessionKey(token, self._prefix, user) for token, user in self._users.items()]
        self._keys = {key.cookie: key for key in keys}

    @property
    def path(self) -> str:
        """The paths that browsers send the cookies to: those below it."""
        return self._prefix or "/"

    def open(self, token: str) -> Session:
        """A new session; ``token`` must be one of the server's."""
        return SessionKey(token, self._prefix, self._users[token]).open()

    def find(self, headers: Iterable[str]) -> Session | None:
        """The valid session in these Cookie headers. Other cookies of the same name do not hide it."""
        found = (self._keys[name].verified(value) for name, value in self._own(headers))
        return next((session for session in found if session is not None), None)

    def names(self, headers: Iterable[str]) -> set[str]:
        """The names of the cookies in these headers that this server has set."""
        return {name for name, _ in self._own(headers)}

    def _own(self, headers: Iterable[str]) -> Iterator[tuple[str, str]]:
        for part in (part for header in headers for part in header.split(";")):
            name, _, value = part.strip().partition("=")
            if name in self._keys:
                yield name, value
