"""workers, where a request came from, warnings of due dates, approval of large jobs

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.losing import refuse_if

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    with op.batch_alter_table("erasure_requests") as batch_op:
        batch_op.add_column(sa.Column("call_id", sa.String(length=128), nullable=True))
        batch_op.add_column(sa.Column("traceparent", sa.String(length=55), nullable=True))
        batch_op.add_column(sa.Column("warned", sa.String(length=10), nullable=True))
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.add_column(sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    refuse_if("jobs", "approved_at IS NOT NULL", "that large jobs were approved by a reviewer")
    refuse_if("erasure_requests", "call_id IS NOT NULL", "which calls posted the requests")
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.drop_column("approved_at")
    with op.batch_alter_table("erasure_requests") as batch_op:
        batch_op.drop_column("warned")
        batch_op.drop_column("traceparent")
        batch_op.drop_column("call_id")
    op.drop_table("workers")
