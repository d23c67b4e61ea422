"""Jobs of several kinds: trainings and batch predictions, each with a list of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not as a batch, which SQLite carries out by replacing the table: that would delete the events of all jobs. The
    # default stays, because to remove it would need a batch.
    op.add_column("jobs", sa.Column("kind", sa.String(16), nullable=False, server_default="training"))
    op.drop_index("ix_jobs_state_created_at_id", "jobs")
    op.drop_index("ix_jobs_created_at_id", "jobs")
    op.create_index("ix_jobs_kind_state_created_at_id", "jobs", ["kind", "state", "created_at", "id"])
    op.create_index("ix_jobs_kind_created_at_id", "jobs", ["kind", "created_at", "id"])


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE job_id IN (SELECT id FROM jobs WHERE kind <> 'training')")
    op.execute("DELETE FROM jobs WHERE kind <> 'training'")
    op.drop_index("ix_jobs_kind_created_at_id", "jobs")
    op.drop_index("ix_jobs_kind_state_created_at_id", "jobs")
    op.drop_column("jobs", "kind")
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_state_created_at_id", "jobs", ["state", "created_at", "id"])
