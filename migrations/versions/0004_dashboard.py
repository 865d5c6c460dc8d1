"""data subjects' status links; indexes for what the dashboard looks for

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.losing import refuse_if

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = [
    ("audit_events", ["at"]),
    ("audit_events", ["noun", "seq"]),
    ("audit_events", ["event", "seq"]),
    ("versions", ["state"]),
    ("erasure_requests", ["dataset_id", "outcome"]),
]
SUBJECTS = "ix_subjects_dataset_id_sample_count"


def upgrade() -> None:
    op.create_table(
        "status_links",
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("link_hash", sa.String(length=64), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["erasure_requests.id"],
            name=op.f("fk_status_links_request_id_erasure_requests"),
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_status_links")),
        sa.UniqueConstraint("link_hash", name=op.f("uq_status_links_link_hash")),
    )
    for table, columns in INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)
    op.create_index(SUBJECTS, "subjects", ["dataset_id", "sample_count", "id"])


def downgrade() -> None:
    refuse_if("status_links", None, "the links of data subjects")
    op.drop_index(SUBJECTS, "subjects")
    for table, columns in INDEXES:
        op.drop_index(f"ix_{table}_{'_'.join(columns)}", table)
    op.drop_table("status_links")
