"""How a database of any earlier version becomes one of this version: Alembic, run when the server starts.

A new revision is a new file in ``versions``, named ``r<number>_<what>.py``, whose ``down_revision`` is the
newest one before it. Released revisions never change.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, inside the transaction that is open on ``connection``.

    Raises alembic.util.CommandError if the database has a revision that this version does not know.
    """
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
