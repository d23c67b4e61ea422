"""Datasets that are named by their addresses in object stores, such as ``s3://bucket/tables/sales.parquet``.

The operator lists the places that may be read. An address has no key, no endpoint and no other option: how a store is
reached is said by the operator, too. The server fetches the object, checks it like any other file, and gives it to
workers under its address.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from epochd.core.errors import Problem
from epochd.core.text import shown
from epochd.data.formats import SUFFIXES, suffix_of

SCHEME = re.compile(r"(?:s3|gs|az|file|https?|abfss?|s3a|gcs|ftp)://", re.IGNORECASE)
MAX_BYTES = 1024
"""The longest key of an object in S3."""


def is_address(name: str | None) -> bool:
    """Whether a dataset is named by an address."""
    return name is not None and SCHEME.match(name) is not None


def prefix_of(url: str, allowed: Sequence[str]) -> str:
    """The longest of the allowed places that an address lies in; empty if there is none."""
    return max((place for place in allowed if url.startswith(place) and url != place), key=len, default="")


def problem(url: str, allowed: Sequence[str], field: str = "dataset") -> Problem | None:
    """Why an address cannot be a dataset here; None if it can."""
    parts = url.partition("://")[2].split("/")
    place = prefix_of(url, allowed)
    if any(character in url for character in "?#@\\\0") or not url.isprintable():
        message = f"{shown(url)} contains more than a store and a path"
        return Problem(field, message, "name the object without user, key, query and endpoint: the server has them")
    if place == "" or {"", ".", ".."} & set(url.removeprefix(place).split("/")) or ".." in parts:
        places = ", ".join(allowed) if allowed else "none"
        message = f"{shown(url)} is not in a place from which this server reads datasets"
        return Problem(field, message, f"allowed places (EPOCHD_DATASET_URLS): {places}")
    if not suffix_of(parts[-1]):
        hint = f"use an object that ends in {', '.join(SUFFIXES)}"
        return Problem(field, f"{shown(url)} is not a dataset: its format is not known", hint)
    if len(url.encode()) > MAX_BYTES:
        return Problem(field, f"{shown(url)} is longer than {MAX_BYTES} bytes", "use a shorter address")
    return None


def home_of(data_dir: Path) -> Path:
    """Where a data folder has the copies of what addresses name."""
    return data_dir / "cache" / "addresses"


def cached(data_dir: Path, url: str) -> Path:
    """Where a data folder has the copy of an address."""
    name = url.rpartition("/")[2]
    suffix = suffix_of(name)
    return home_of(data_dir) / hashlib.sha256(url.encode()).hexdigest()[:32] / f"data{suffix}"
