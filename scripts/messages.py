"""The catalogue of messages: ``python scripts/messages.py`` adds those of the sources to ``locale/zh.po``, removes
those that are gone, and lists those without a translation.

Messages are found in the syntax tree: texts that are given to an error, a problem or a warning, that a command
describes itself with, or that have the name of a message. What is inserted becomes {0}, {1} …

Two comments of translators (``# …`` before an entry) are kept: ``manual`` is a message that stands in no source, such
as those of pydantic; ``no-message`` is a text that is found, but that nobody reads as a message.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from epochd.core.language import CATALOGUE

SOURCES = Path(__file__).parents[1] / "src" / "epochd"
LEFT_OUT = ("report/chinese.py", "report/english.py", "core/language.py", "api/messages.py")
MANUAL, NO_MESSAGE = "manual", "no-message"
CALLS = {
    *("Problem", "problem", "warning", "Issue", "FormatError", "PictureError", "bad_value", "wrong_type", "invalid"),
    *(
        "_invalid",
        "_error",
        "error",
        "show",
        "Option",
        "Argument",
        "LeftOut",
        "unpack",
        "echo",
        "fail",
        "Text",
        "RowProblem",
        "localized",
        "warn",
    ),
}
"""Functions whose texts are messages, besides classes of errors."""
NAMES = {
    *("message", "hint", "reason", "text", "what", "why", "advice", "note", "doubt", "limit", "place", "told", "said"),
    *(
        "notes",
        "found",
        "remedy",
        "size",
        "sizes",
        "space",
        "cause",
        "silence",
        "hang",
        "batches",
        "usage",
        "meaning",
        "ended",
        "by",
    ),
    *("describe", "lacking", "which", "of", "has", "origin", "help", "warnings", "more", "listed", "HINT", "detail"),
    *("TOKEN_HELP", "VERSION_HELP", "SERVE_EPILOG", "example", "both", "certain", "likely", "shown", "place"),
}
"""Variables, parameters and functions whose texts are messages."""
METHODS = ("append", "extend", "insert")
"""Methods of lists whose arguments are messages if the lists are."""
ERRORS = (
    *("Error", "Busy", "TooLarge", "NotFound", "NameTaken", "IllegalMove", "DataChanged", "InvalidSpec", "BadRequest"),
    *("InvalidRequest", "Unauthorized", "Forbidden", "OutOfSpace", "CorruptFile", "BuiltIn", "DatasetInUse", "Missing"),
    *(
        "ModelDiffers",
        "Diverged",
        "OutOfMemory",
        "NotReadable",
        "MethodNotAllowed",
        "InUse",
        "Refused",
        "Unreachable",
        "NotLeader",
        "Unavailable",
    ),
)
"""What the names of classes of errors end with."""


def template(node: ast.AST) -> str | None:
    """The text of a constant or an f-string, with places for what is inserted; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        number, parts = 0, []
        for value in node.values:
            if isinstance(value, ast.Constant):
                parts.append(str(value.value))
            else:
                parts.append(f"{{{number}}}")
                number += 1
        return "".join(parts)
    return None


def texts(node: ast.AST) -> Iterator[tuple[str, int]]:
    """All texts in an expression, also those in the places of others, with their lines."""
    found = template(node)
    if found is not None:
        yield found, getattr(node, "lineno", 0)
        for value in getattr(node, "values", ()):
            if isinstance(value, ast.FormattedValue):
                yield from texts(value.value)
        return
    if isinstance(node, ast.Call | ast.IfExp | ast.BinOp | ast.BoolOp | ast.Tuple | ast.List | ast.Dict | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from texts(child)
    elif isinstance(node, ast.GeneratorExp | ast.ListComp):
        yield from texts(node.elt)
    elif isinstance(node, ast.Starred | ast.NamedExpr | ast.keyword):
        yield from texts(node.value)


def is_message(text: str) -> bool:
    """Whether a text is to be read: it has a word, and is no name or path."""
    words = text.replace("{", " ").split()
    return any(len(word) > 1 and word.strip(",.;:()'").isalpha() for word in words) and (" " in text.strip())


def words(call: ast.Call, name: str) -> Iterator[tuple[str, int]]:
    """The labels and the titles of a table that the command line prints, which have entries of their own."""
    titles = getattr(call.args[0], "elts", []) if name == "show_table" else call.args
    if name in ("show_table", "word"):
        yield from ((f"word: {one.value}", call.lineno) for one in titles if isinstance(one, ast.Constant))


def is_command(function: ast.FunctionDef) -> bool:
    """Whether a function of the command line is a command, whose docstring is its help."""
    types = {ast.unparse(one.annotation) for one in function.args.args if one.annotation}
    return "Url" in types or function.name in ("serve", "bench", "version")


def _is_source(name: str) -> bool:
    return name in CALLS or name.endswith(ERRORS)


def _is_list_of_messages(function: ast.expr) -> bool:
    """Whether a method is ``append`` or the like of a list of messages."""
    of = function.value if isinstance(function, ast.Attribute) and function.attr in METHODS else None
    return isinstance(of, ast.Name) and of.id.strip("_") in NAMES


def _of_call(node: ast.Call) -> Iterator[tuple[str, int]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    yield from words(node, name)
    if _is_source(name) or _is_list_of_messages(node.func):
        for argument in [*node.args, *node.keywords]:
            yield from texts(argument)
    yield from (pair for one in node.keywords if one.arg in NAMES for pair in texts(one.value))


def messages(path: Path) -> Iterator[tuple[str, int]]:
    """The messages of a source file with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            if {name.strip("_") for name in names} & NAMES or any(name.isupper() for name in names):
                yield from texts(node.value)
        elif isinstance(node, ast.arguments):
            defaults = zip(reversed([*node.posonlyargs, *node.args]), reversed(node.defaults), strict=False)
            keywords = zip(node.kwonlyargs, node.kw_defaults, strict=True)
            yield from (p for one, value in (*defaults, *keywords) if value and one.arg in NAMES for p in texts(value))
        elif isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            yield from texts(node.value)
    if path.is_relative_to(SOURCES / "cli"):
        yield from (
            (doc, 1)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and is_command(node) and (doc := ast.get_docstring(node))
        )
    if path.name in ("spec_fields.py", "prediction_specs.py", "settings.py", "feature_options.py", "columns.py"):
        yield from _descriptions(tree)


def _descriptions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The descriptions of the fields of models, which are hints."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and (text := template(after.value)):
                    yield " ".join(text.replace("``", "").split()), after.lineno


def found() -> dict[str, list[tuple[str, int]]]:
    """Every message of the sources, and where it stands."""
    places: dict[str, list[tuple[str, int]]] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        name = path.relative_to(SOURCES).as_posix()
        if name not in LEFT_OUT:
            for text, line in messages(path):
                if is_message(text):
                    places.setdefault(text, []).append((name, line))
    return places


def catalogue() -> Catalog:
    """The catalogue on disk."""
    if not CATALOGUE.exists():
        return Catalog(locale="zh", charset="utf-8")
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="zh")


def marked(known: Catalog, comment: str) -> set[str]:
    """The messages of a catalogue with this comment."""
    return {str(entry.id) for entry in known if entry.id and comment in entry.user_comments}


def lacking(known: Catalog, texts: Iterable[str]) -> list[str]:
    """Those of the texts without a translation that need one."""
    ignored = marked(known, NO_MESSAGE)
    return [text for text in sorted(texts) if text not in ignored and not ((entry := known.get(text)) and entry.string)]


def updated(known: Catalog, places: Mapping[str, list[tuple[str, int]]]) -> Catalog:
    """The catalogue with the messages of the sources and the manual ones, and no other."""
    found = Catalog(locale="zh", project="epochd", version="", charset="utf-8", fuzzy=False)
    for text in sorted({*places, *marked(known, MANUAL)}):
        before = known.get(text)
        found.add(
            text,
            before.string if before else "",
            locations=[(name, None) for name, _ in places.get(text, [])[:2]],  # type: ignore[misc]
            user_comments=before.user_comments if before else [],
        )
    return found


def main() -> int:
    places = found()
    known = updated(catalogue(), places)
    with CATALOGUE.open("wb") as file:
        write_po(file, known, width=120, sort_output=True, omit_header=True)
    missing = lacking(known, {str(entry.id) for entry in known if entry.id})
    for text in missing:
        print(f"no translation: {text!r} ({places.get(text, [(MANUAL, 0)])[0][0]})")
    print(f"{len(places)} messages, {len(missing)} without a translation")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
