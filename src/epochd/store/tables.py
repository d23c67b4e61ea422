"""The tables: jobs, their events, registered datasets, aliases of models, the leader of several servers. Migrations
create them; a test compares both.

Enumerations are plain text, so that a new state needs no migration; JSON is text, which preserves the order of keys.
"""

from enum import StrEnum

import sqlalchemy as sa

from epochd.core.datasets import DatasetKind
from epochd.core.events import Type
from epochd.core.jobs import Command, JobKind, State

JSON = sa.JSON(none_as_null=True)
metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _named(kind: type[StrEnum]) -> sa.Enum:
    """An enumeration, stored as the text of its values."""
    return sa.Enum(kind, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", _named(JobKind), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text),
    sa.Column("spec", JSON, nullable=False),
    sa.Column("state", _named(State), nullable=False),
    sa.Column("command", _named(Command), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("token_hash", sa.String(64)),
    sa.Column("reported", sa.Integer, nullable=False),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("current_epoch", sa.Integer, nullable=False),
    sa.Column("latest_metrics", JSON),
    sa.Column("best_metrics", JSON),
    sa.Column("checkpoint", JSON),
    sa.Column("artifact", sa.Text),
    sa.Column("summary", JSON, nullable=False),
    sa.Column("warnings", JSON, nullable=False),
    sa.Column("error", JSON),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("queued_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("lease_until", sa.Double),
    sa.Column("parent", sa.String(64)),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("gpu_request", sa.Integer, nullable=False, server_default="0"),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("strikes", sa.Integer, nullable=False),
    sa.Column("preemptions", sa.Integer, nullable=False),
    sa.Column("worker", JSON),
    sa.Column("agent", sa.Text),
    sa.Column("progress_at", sa.Double),
    sa.Column("revisions", JSON, nullable=False),
    sa.Index(None, "state", "queued_at"),
    sa.Index(None, "parent"),
    sa.Index(None, "kind", "state", "created_at", "id"),
    sa.Index(None, "kind", "created_at", "id"),
    sa.Index(None, "kind", "dataset", "created_at", "id"),
    sa.Index(None, "kind", "owner", "created_at", "id"),
    sa.Index("ix_jobs_queue", "state", sa.desc("priority"), "queued_at", "id", "owner", "gpu_request"),
)
"""One row per job. ``token_hash`` is the SHA-256 of the token of the running attempt; the token is not stored.
``name``, ``dataset``, ``priority`` and ``gpu_request`` (``core.jobs.gpu_request``) repeat what is in ``spec``, to find
and order jobs by them. ``ix_jobs_queue`` is the queue in its order."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("type", _named(Type), nullable=False),
    sa.Column("payload", JSON, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
"""One row per event; ``seq`` counts from 1 within the job, without gaps."""

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("kind", _named(DatasetKind), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("schema", JSON, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("connection", sa.Text),
    sa.Column("query", sa.Text),
    sa.Column("profile", JSON),
    sa.Column("options", JSON),
    sa.Index(None, "created_at"),
)
"""One row per registered dataset; ``connection`` is the name of the connection in the settings, not its URL."""

model_aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("alias", sa.String(120), primary_key=True),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Index(None, "version"),
)
"""One row per alias; ``model`` is a folder of the artifact store, ``version`` the id of the task that trained it. The
model may be kept longer than its task."""

leader = sa.Table(
    "leader",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("term", sa.Integer, nullable=False),
    sa.Column("server", sa.String(64), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("renewed_at", sa.Double, nullable=False),
    sa.Column("about", JSON, nullable=False),
)
"""At most one row, with the id 1: the server that dispatches, of several that share the database. Each new leader
increments ``term``. Times are those of the database."""
