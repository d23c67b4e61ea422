"""What keeps a job alive: who runs it, how often that went wrong, what it goes on from and what was changed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("parent", sa.String(64)))
        for name in ("crashes", "strikes", "preemptions"):
            table.add_column(sa.Column(name, sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("worker", sa.JSON))
        table.add_column(sa.Column("progress_at", sa.Double))
        table.add_column(sa.Column("revisions", sa.JSON, nullable=False, server_default="[]"))
    with op.batch_alter_table("jobs") as table:
        for name in ("crashes", "strikes", "preemptions", "revisions"):
            table.alter_column(name, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        for name in ("parent", "crashes", "strikes", "preemptions", "worker", "progress_at", "revisions"):
            table.drop_column(name)
