"""canary groups

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.losing import refuse_if

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canary_groups",
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seed", sa.String(length=32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_canary_groups_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_canary_groups_job_id_jobs")),
        sa.PrimaryKeyConstraint("dataset_id", "number", name=op.f("pk_canary_groups")),
        sa.UniqueConstraint("job_id", name=op.f("uq_canary_groups_job_id")),
    )


def downgrade() -> None:
    refuse_if("canary_groups", None, "the commitments to canaries")
    op.drop_table("canary_groups")
