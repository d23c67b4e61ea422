"""The dataset of each job as a column, by which jobs are found without reading their configs."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FILL = {
    "postgresql": "UPDATE jobs SET dataset = spec ->> 'dataset'",
    "sqlite": "UPDATE jobs SET dataset = json_extract(spec, '$.dataset')",
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("dataset", sa.Text()))
    op.execute(FILL[op.get_bind().dialect.name])
    op.create_index("ix_jobs_kind_dataset_created_at_id", "jobs", ["kind", "dataset", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_kind_dataset_created_at_id", "jobs")
    op.drop_column("jobs", "dataset")
