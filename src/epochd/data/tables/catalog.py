"""Resolving the name of a dataset: a built-in table, or a file or folder under one of the server's dataset folders.

A file is found by its whole name or, if there is none of that name, without the suffix of its format. Names are
compared with their letters composed, because file systems may store them decomposed.

A name may only lead into these folders: ``..`` and NUL are rejected, symbolic links are followed before the check, and
the error for a file elsewhere is the same whether or not it exists. A registered path is checked whenever it is opened,
because it may have become a link since.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath

from epochd.core.columns import ReadOptions
from epochd.core.errors import DataError, Problem, similar_names
from epochd.core.names import composed
from epochd.core.specs import TrainingSpec
from epochd.core.text import shown
from epochd.core.tickets import AttemptTicket
from epochd.data.formats import SUFFIXES, suffix_of
from epochd.data.schema import shorten
from epochd.data.tables.source import Source

BUILTIN = ("breast_cancer", "diabetes", "digits", "iris", "sample", "wine")
"""Tables that come with epochd. ``sample`` is ``breast_cancer`` cut to the three columns that its description
names as most predictive together (worst area, worst smoothness, mean texture) and mean concave points, renamed to
feature1 … feature4."""

MAX_SCANNED = 2_000
"""Datasets in the folders that are compared with a name for a hint."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The available datasets: those in folders, and those ``registered`` under a name (name → file or folder).

    ``default`` is the dataset of a config without a name; ``reading`` is how registered datasets are read, and
    ``refused`` is why datasets cannot be used that are named by their addresses (``addresses``).
    """

    roots: Sequence[Path] = ()
    registered: Mapping[str, Path] = field(default_factory=dict)
    default: str = "sample"
    reading: Mapping[str, ReadOptions] = field(default_factory=dict)
    refused: Mapping[str, Problem] = field(default_factory=dict)

    @classmethod
    def of_ticket(cls, ticket: AttemptTicket) -> "Catalog":
        """The datasets of an attempt."""
        return cls(ticket.dataset_roots, ticket.registered, reading=ticket.reading)

    def of(self, spec: TrainingSpec, needed: Iterable[str] = ()) -> Source:
        """The dataset that a config trains on, read as it says, without indexes that pandas has written, unless the
        config names them or they are ``needed``. Raise DataError (field ``dataset``) if there is none."""
        named = {value for value in vars(spec).values() if isinstance(value, str)}
        kept = {*named, *(spec.feature_columns or ()), *needed}
        return self.open(spec.dataset).reading(spec.read_options).without_index(kept)

    def validation_of(self, spec: TrainingSpec) -> Source:
        """The config's validation dataset, with its columns read as the config says; its encoding and its sheet are
        its own. Raise DataError (field ``dataset``) if there is none."""
        return self.open(spec.validation_dataset).reading(ReadOptions(columns=spec.read_options.columns))

    def open(self, name: str | None) -> Source:
        """The dataset of this name, or the default one: built-in, registered, or a path: relative to one of the
        roots, or absolute inside one, also without its suffix. The source has the whole name. Raise DataError (field
        ``dataset``) if there is none, or if several files have the name without their suffixes."""
        name = composed(name or self.default)
        if name in BUILTIN:
            return Source(name, Path(__file__).parents[1] / "builtin" / f"{name}.parquet")
        if name in self.registered:
            return Source(name, self._registered_path(name), options=self.reading.get(name, ReadOptions()))
        if name in self.refused:
            raise DataError([self.refused[name]])
        message, hint, suffix = f"there is no dataset {shown(name)}", "", PurePath(name).suffix
        if "\0" in name or ".." in PurePath(name).parts:
            message = f"{shown(name)} is not a dataset name: '..' and NUL are not allowed in it"
        elif path := next((found for root in self.roots if (found := _resolve_inside(root, name))), None):
            return Source(name, path)
        elif files := _with_stem(self.roots, name):
            if len(files) == 1:
                return Source(*files.popitem())
            message = f"{shown(name)} is the beginning of the names of several files: {shorten(sorted(files), 10)}"
            raise DataError([Problem("dataset", message, "name one of them with its suffix")])
        elif any(_is_link(root, name) for root in self.roots):
            message = f"{shown(name)} is a link that does not lead to a dataset in the server's dataset folders"
            hint = "copy the file there, or let the operator add its folder to EPOCHD_DATA_ROOTS; "
        elif suffix and not suffix_of(name) and suffix[1:].isalnum() and not suffix[1:].isdigit():
            message = f"{shown(name)} is not a dataset: files that end in {shown(suffix, 50)} cannot be read"
            hint = f"use a file that ends in {', '.join(SUFFIXES)}; "
        raise DataError([Problem("dataset", message, hint + self._suggestions(name))])

    def folder(self, name: str, field: str) -> Path:
        """The folder of this name: relative to one of the roots, or absolute inside one. Raise DataError."""
        if "\0" not in name and ".." not in PurePath(name).parts:
            for root in self.roots:
                if (path := _resolve_inside(root, name)) is not None and path.is_dir():
                    return path
        hint = "name a folder relative to one of the server's dataset folders"
        raise DataError([Problem(field, f"there is no folder {shown(name)} in the server's dataset folders", hint)])

    def _registered_path(self, name: str) -> Path:
        """The path of a registered dataset, which has been inside a root, with links resolved. Raise DataError if it
        now leads elsewhere."""
        registered = self.registered[name]
        try:
            path = registered.resolve()
            if path == registered.absolute() or any(path.is_relative_to(root.resolve()) for root in self.roots):
                return path
            reason = "is now a link that leads out of the server's dataset folders"
        except (OSError, RuntimeError) as error:
            reason = f"cannot be resolved ({type(error).__name__})"
        message = f"the registered path of {name!r} {reason}"
        raise DataError([Problem("dataset", message, "restore the file there, or register the dataset again")])

    def _suggestions(self, name: str) -> str:
        known, files = sorted(self.registered), sorted(islice(_datasets(self.roots), MAX_SCANNED))
        nearest = similar_names(name, [other for other in (*BUILTIN, *known, *files) if other != name], 3)
        hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        hint += f"built-in datasets: {', '.join(BUILTIN)}"
        hint += f"; registered: {shorten(known, 10)}" if known else ""
        shown = f"files on the server: {shorten(files, 10)}" if files else "the server's dataset folders are empty"
        return f"{hint}; {shown}"


def open_dataset(name: str, roots: Sequence[Path]) -> Source:
    """A built-in dataset, or one under ``roots``. Raise DataError (field ``dataset``) if there is none."""
    return Catalog(roots).open(name)


def _resolve_inside(root: Path, name: str) -> Path | None:
    """The path of ``name`` in ``root``, with links resolved; None unless it is inside ``root`` and can be a dataset."""
    try:
        home = root.resolve()
        path = _on_disk(home, name).resolve()
        # Names of incomplete uploads begin with a dot.
        visible = path.is_relative_to(home) and not any(p.startswith(".") for p in path.relative_to(home).parts)
        found = visible and (path.is_dir() or (suffix_of(path.name) != "" and path.exists()))
    except (OSError, RuntimeError):  # for example, a name that is too long, or a loop of links
        return None
    return path if found else None


def _on_disk(home: Path, name: str) -> Path:
    """The path of a composed name in a root, with each part as its folder has it."""
    place = home / name
    if name.isascii() or place.exists() or not place.is_relative_to(home):
        return place
    found = home
    for part in place.relative_to(home).parts:
        if not (found / part).exists() and found.resolve().is_relative_to(home):
            part = next((other for other in os.listdir(found) if composed(other) == part), part)
        found /= part
    return found


def _with_stem(roots: Sequence[Path], name: str) -> dict[str, Path]:
    """The files that have this name without the suffix of their format, by their whole names; of two roots the first
    one's."""
    found: dict[str, Path] = {}
    stem = PurePath(name).as_posix()
    for root in roots:
        with suppress(OSError, RuntimeError, ValueError):
            home = root.resolve()
            folder = _on_disk(home, name).parent
            for entry in os.listdir(folder) if folder.resolve().is_relative_to(home) else ():
                whole = PurePath(name).with_name(entry).as_posix()
                suffix = suffix_of(entry)
                if not suffix or composed(whole.removesuffix(entry[-len(suffix) :])) != stem:
                    continue
                if path := _resolve_inside(root, composed(whole)):
                    found.setdefault(composed(whole), path)
    return found


def _is_link(root: Path, name: str) -> bool:
    """Whether ``name`` is a link in a folder inside ``root``."""
    with suppress(OSError, RuntimeError):
        path = root.resolve() / name
        return path.parent.resolve().is_relative_to(root.resolve()) and path.is_symlink()
    return False


def _datasets(roots: Sequence[Path]) -> Iterator[str]:
    """Paths, relative to their root, of what could be a dataset: files, and folders with ``key=value`` folders."""
    for root in roots:
        for place, folders, names in os.walk(root):
            here = Path(place).relative_to(root)
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            if any("=" in folder for folder in folders):
                yield here.as_posix()
                folders.clear()
            else:
                yield from ((here / name).as_posix() for name in names if suffix_of(name) and name[0] != ".")
