"""The agent that has the newest attempt of each job."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("agent", sa.Text()))


def downgrade() -> None:
    op.drop_column("jobs", "agent")
