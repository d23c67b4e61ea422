"""The language of an answer: which one a request gets, and which texts of an answer are translated into it.

What is stored, logged and sent by workers is English. It is translated when an answer is written: fields of the type
``Told`` by their responses, stored JSON by ``told``. Names and values of users are never translated.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import PlainSerializer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from epochd.core.language import DEFAULT, Language, current, preferred, translated

TEXTS = frozenset({"message", "hint", "reason", "note", "notation"})
"""Fields of stored JSON that are messages."""
LISTS = frozenset({"warnings", "problems", "left_out"})
"""Fields that are lists of messages, or of objects with messages."""
PARTS = frozenset({"error", "crash", "dataset", "summary", "metrics", "learning_rate"})
"""Fields that are objects with messages. All others are values."""
JOINED = ("{field}: {message}", "{message}: {hint}", "{field}: {message}; {hint}")
"""How the message of an error is written from its problems."""
ENGLISH_PATHS = ("/v2", "/serving/")
"""The paths of other protocols, whose clients expect English."""


TRANSLATED_TYPES = ("application/json", "text/event-stream")
"""Types of answers with messages; caches keep one of each language."""


class RequestLanguage:
    """Sets the language of each request, and names it in the answer; ``default`` is that of clients that state none."""

    def __init__(self, app: ASGIApp, default: Language | None = None) -> None:
        self.app = app
        self.default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        language = language_of(scope, self.default)

        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith(TRANSLATED_TYPES):
                    headers.add_vary_header("Accept-Language")
                    headers.setdefault("Content-Language", language)
            await send(message)

        with spoken(language):
            await self.app(scope, receive, labelled)


def language_of(scope: Scope, default: Language | None = None) -> Language:
    """The language that a request asks for; else English for other protocols, the default for all other paths."""
    header = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept-language"), None)
    if header is not None and (language := preferred(header)) is not None:
        return language
    path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    return "en" if path.startswith(ENGLISH_PATHS) else default or DEFAULT


@contextmanager
def spoken(language: Language) -> Iterator[None]:
    """Within the context, texts are translated into this language."""
    before = current.set(language)
    try:
        yield
    finally:
        current.reset(before)


def told(value: Mapping[str, Any], language: Language | None = None) -> dict[str, Any]:
    """Stored JSON with its messages in this language (None: that of the request)."""
    if (language or current.get()) == "en":
        return dict(value)
    found = {name: _told(name, given, language) for name, given in value.items()}
    if isinstance(message := value.get("message"), str) and (problems := value.get("problems")):
        found["message"] = _joined(message, problems, found["problems"]) or found["message"]
    return found


def _told(name: str, value: Any, language: Language | None) -> Any:
    """The value of one field of stored JSON."""
    if name in TEXTS and isinstance(value, str):
        return translated(value, language)
    if name in PARTS and isinstance(value, Mapping):
        return told(value, language)
    if name in LISTS and isinstance(value, Sequence) and not isinstance(value, str):
        return [told(one, language) if isinstance(one, Mapping) else translated(one, language) for one in value]
    return value


def _joined(message: str, problems: Sequence[Any], translations: Sequence[Any]) -> str | None:
    """The translation of a message that is written from problems, whose fields are names; None for any other."""
    if not all(isinstance(problem, Mapping) and {"field", "message", "hint"} <= problem.keys() for problem in problems):
        return None
    for form in JOINED:
        if message == "; ".join(map(form.format_map, problems)):
            wide = form.replace(": ", "：").replace("; ", "；")
            return "；".join(map(wide.format_map, translations))
    return None


def _told_text(text: str) -> str:
    return translated(text)


def _told_json(value: dict[str, Any]) -> dict[str, Any]:
    return told(value)


Told = Annotated[str, PlainSerializer(_told_text, return_type=str)]
"""A message, English in Python, in the language of the request in JSON."""
TOLD = PlainSerializer(_told_json, return_type=dict[str, Any])
"""For stored JSON that has messages."""
