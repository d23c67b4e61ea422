"""Migrations of the database schema with Alembic; the server runs them at its start.

A new revision is a new file in ``versions``, named ``r<number>_<what>.py``, whose ``down_revision`` is the
newest one before it. Released revisions never change.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Migrate the schema to the newest revision, in the open transaction of ``connection``.

    Raises alembic.util.CommandError if this version does not know the revision of the database.
    """
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
