"""The tables: jobs, their events, and registered datasets.

Migrations create them in real databases; a test compares both descriptions. Enumerations are stored as plain text, so
that a new state needs no migration, and JSON as text, which preserves the order of keys.
"""

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from epochd.core.datasets import DatasetKind
from epochd.core.events import Type
from epochd.core.jobs import Command, State

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _named(kind: type[StrEnum]) -> Enum:
    """An enumeration, stored as the text of its values."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


def _json() -> JSON:
    return JSON(none_as_null=True)


jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", _json(), nullable=False),
    Column("state", _named(State), nullable=False),
    Column("command", _named(Command), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token_hash", String(64)),
    Column("reported", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("current_epoch", Integer, nullable=False),
    Column("latest_metrics", _json()),
    Column("best_metrics", _json()),
    Column("checkpoint", _json()),
    Column("artifact", Text),
    Column("summary", _json(), nullable=False),
    Column("warnings", _json(), nullable=False),
    Column("error", _json()),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("lease_until", Double),
    Column("parent", String(64)),
    Column("crashes", Integer, nullable=False),
    Column("strikes", Integer, nullable=False),
    Column("preemptions", Integer, nullable=False),
    Column("worker", _json()),
    Column("progress_at", Double),
    Column("revisions", _json(), nullable=False),
    Index(None, "state", "queued_at"),
    Index(None, "created_at"),
)
"""One row per job. ``token_hash`` is the SHA-256 of the token of the running attempt; the token is not stored."""

events = Table(
    "events",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("type", _named(Type), nullable=False),
    Column("payload", _json(), nullable=False),
    Column("at", Double, nullable=False),
)
"""One row per event; ``seq`` counts from 1 within the job, without gaps."""

datasets = Table(
    "datasets",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("kind", _named(DatasetKind), nullable=False),
    Column("path", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("schema", _json(), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("connection", Text),
    Column("query", Text),
    Column("profile", _json()),
    Index(None, "created_at"),
)
"""One row per registered dataset; ``connection`` is the name of the connection in the settings, not its URL."""
