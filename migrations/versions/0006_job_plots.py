"""what job pages draw, and the orders in which lists are read

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from core.db import Json
from migrations.losing import refuse_if

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_erasure_requests_state_id": ("erasure_requests", ["state", "id"]),
    "ix_erasure_requests_due_at_id": ("erasure_requests", ["due_at", "id"]),
    "ix_erasure_requests_completed_at": ("erasure_requests", ["completed_at"]),
    "ix_jobs_state_id": ("jobs", ["state", "id"]),
}


def upgrade() -> None:
    op.create_table(
        "job_plots",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("curves", Json, nullable=False),
        sa.Column("scores", Json, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_plots_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_plots")),
    )
    for name, (table, columns) in INDEXES.items():
        op.create_index(op.f(name), table, columns)


def downgrade() -> None:
    refuse_if("job_plots", None, "the curves and score histograms of jobs")
    for name, (table, _) in INDEXES.items():
        op.drop_index(op.f(name), table)
    op.drop_table("job_plots")
