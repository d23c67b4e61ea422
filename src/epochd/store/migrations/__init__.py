"""Migrations of the database schema with Alembic; the server runs them at its start.

A new revision is a new file in ``versions``, named ``r<number>_<what>.py``, whose ``down_revision`` is the
newest one before it. Released revisions never change.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

FOLDER = Path(__file__).parent


class UnknownRevision(Exception):
    """The database has a revision that this version does not know."""


def upgrade(connection: Connection) -> None:
    """Migrate the schema to the newest revision, in the open transaction of ``connection``.

    Alembic, whose import is a fifth of the time of a start, is needed only if there is something to migrate.
    Raises UnknownRevision if a newer version of epochd has written the database.
    """
    if revision(connection) == newest():
        return
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownRevision(str(error)) from error


def revision(connection: Connection) -> str | None:
    """The revision of the schema; None if nothing was migrated yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def newest() -> str:
    """The revision of the last file in ``versions``."""
    return max(file.stem for file in (FOLDER / "versions").glob("r*.py"))[1:5]
