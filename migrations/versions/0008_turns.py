"""fair shares: what workers serve, what a model's jobs took, who was served; the queue's index

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.losing import refuse_if

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
_QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("finish", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_shares")),
    )
    with op.batch_alter_table("workers") as batch_op:
        batch_op.add_column(sa.Column("classes", _JSON, nullable=True))
        batch_op.add_column(sa.Column("memory_mb", sa.Integer(), nullable=True))
    with op.batch_alter_table("models") as batch_op:
        batch_op.add_column(sa.Column("costs", _JSON, nullable=True))
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["model_id", "kind", "due_at", "queued_at", "id"],
        sqlite_where=_QUEUED,
        postgresql_where=_QUEUED,
    )


def downgrade() -> None:
    refuse_if("models", "costs IS NOT NULL", "how long the jobs of each model take")
    op.drop_index("ix_jobs_queued", table_name="jobs")
    with op.batch_alter_table("models") as batch_op:
        batch_op.drop_column("costs")
    with op.batch_alter_table("workers") as batch_op:
        batch_op.drop_column("memory_mb")
        batch_op.drop_column("classes")
    op.drop_table("shares")
