"""The contract's two stores: every test here that uses ``db`` runs on SQLite and on a real PostgreSQL server."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_database_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if store == "postgresql":
        return str(request.getfixturevalue("new_postgres")())
    return f"sqlite:///{tmp_path / 'epochd.db'}"


@pytest.fixture
def database_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if store == "postgresql":
        return str(request.getfixturevalue("new_postgres")(request.getfixturevalue("migrated_postgres")))
    path = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "epochd.db")
    return f"sqlite:///{path}"
