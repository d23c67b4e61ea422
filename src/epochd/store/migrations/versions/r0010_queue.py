"""The queue in the order of priorities: priority, owner and request for GPUs of each job as columns."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OPTION = {"postgresql": "spec ->> '{}'", "sqlite": "json_extract(spec, '$.{}')"}
REQUEST = """UPDATE jobs SET gpu_request = CASE
    WHEN kind <> 'training' OR {device} = 'cpu' OR {num_devices} IS NOT NULL THEN 0
    WHEN {num_gpus} IS NULL THEN -1
    WHEN CAST({num_gpus} AS TEXT) = 'auto' THEN -2
    ELSE CAST({num_gpus} AS INTEGER) END"""
NAMES = "device", "num_devices", "num_gpus"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("owner", sa.Text()))
    op.add_column("jobs", sa.Column("gpu_request", sa.Integer(), nullable=False, server_default="0"))
    option = OPTION[op.get_bind().dialect.name]
    op.execute(REQUEST.format(**{name: option.format(name) for name in NAMES}))
    op.create_index("ix_jobs_kind_owner_created_at_id", "jobs", ["kind", "owner", "created_at", "id"])
    columns: list[str | sa.TextClause] = ["state", sa.text("priority DESC"), "queued_at", "id", "owner", "gpu_request"]
    op.create_index("ix_jobs_queue", "jobs", columns)


def downgrade() -> None:
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_index("ix_jobs_kind_owner_created_at_id", "jobs")
    for name in ("gpu_request", "owner", "priority"):
        op.drop_column("jobs", name)
