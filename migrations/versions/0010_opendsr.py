"""OpenDSR: its requests, their parts, their callbacks

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.losing import refuse_if

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
PARTS = ("erasure_requests", "deliveries")


def upgrade() -> None:
    op.create_table(
        "opendsr_requests",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("subject_request_id", sa.String(length=36), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=10), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("regulation", sa.String(length=50), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("callback_urls", JSON, nullable=False),
        sa.Column("uncovered", JSON, nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_opendsr_requests_key_id_api_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opendsr_requests")),
        sa.UniqueConstraint(
            "key_id",
            "subject_request_id",
            name=op.f("uq_opendsr_requests_key_id_subject_request_id"),
        ),
    )
    for table in PARTS:
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column("opendsr_id", sa.String(length=40), nullable=True))
            batch_op.create_foreign_key(
                op.f(f"fk_{table}_opendsr_id_opendsr_requests"),
                "opendsr_requests",
                ["opendsr_id"],
                ["id"],
            )
            batch_op.create_index(op.f(f"ix_{table}_opendsr_id"), ["opendsr_id"])
    with op.batch_alter_table("deliveries") as batch_op:
        batch_op.alter_column("request_id", existing_type=sa.String(length=40), nullable=True)


def downgrade() -> None:
    refuse_if("opendsr_requests", None, "what was asked for by OpenDSR")
    with op.batch_alter_table("deliveries") as batch_op:
        batch_op.alter_column("request_id", existing_type=sa.String(length=40), nullable=False)
    for table in PARTS:
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_index(op.f(f"ix_{table}_opendsr_id"))
            batch_op.drop_constraint(
                op.f(f"fk_{table}_opendsr_id_opendsr_requests"), type_="foreignkey"
            )
            batch_op.drop_column("opendsr_id")
    op.drop_table("opendsr_requests")
