"""Indexes for long lists of tasks, and NUL characters that PostgreSQL stores but cannot read."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CLEAN = r"""
UPDATE jobs SET spec = regexp_replace(spec::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::json
WHERE strpos(spec::text, '\u0000') > 0
"""


def upgrade() -> None:
    op.drop_index("ix_jobs_created_at", "jobs")
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_state_created_at_id", "jobs", ["state", "created_at", "id"])
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(CLEAN)


def downgrade() -> None:
    op.drop_index("ix_jobs_state_created_at_id", "jobs")
    op.drop_index("ix_jobs_created_at_id", "jobs")
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"])
