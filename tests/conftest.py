"""What tests of several rooms share: an open database, a fresh SQLite file for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from epochd.store.db import Database


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'epochd.db'}"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An open database at the newest revision."""
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()
