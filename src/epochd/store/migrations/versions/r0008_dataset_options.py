"""How a registered dataset is read: its encoding, its sheet, its columns."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("options", sa.JSON()))


def downgrade() -> None:
    op.drop_column("datasets", "options")
