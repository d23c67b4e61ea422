"""A server whose store has trained models: they are trained once, and each test gets a copy."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import trained_models
from tests.support.house import House
from tests.support.readers import InProcessReaders
from tests.support.trained_models import Store

from epochd.api import service


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A data directory with models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "ReaderPool", InProcessReaders)
        yield asyncio.run(trained_models.build(tmp_path_factory.mktemp("models") / "data"))


@pytest.fixture
def store(built: Store, tmp_path: Path) -> Store:
    """A copy of it."""
    return replace(built, folder=shutil.copytree(built.folder, tmp_path / "data", symlinks=True))


@pytest.fixture
async def house(store: Store) -> AsyncIterator[House]:
    async with trained_models.opened(store.folder) as house:
        yield house
