"""An index for the tasks that continue a task."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_parent", "jobs", ["parent"])


def downgrade() -> None:
    op.drop_index("ix_jobs_parent", "jobs")
