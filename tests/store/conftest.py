"""The contract's two stores: every test here that uses ``db`` runs on SQLite and on a real PostgreSQL server."""

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("new_postgres")())
    return f"sqlite:///{tmp_path / 'epochd.db'}"
