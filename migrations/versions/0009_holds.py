"""legal holds, and why requests were refused

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.losing import refuse_if

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("subject_hash", sa.String(length=64), nullable=True),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("sample_count", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.Column("key_id", sa.String(length=40), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_legal_holds_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_legal_holds_model_id_models")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_holds")),
    )
    op.create_index(
        op.f("ix_legal_holds_dataset_id_released_at"),
        "legal_holds",
        ["dataset_id", "released_at"],
    )
    op.create_table(
        "held_samples",
        sa.Column("hold_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hold_id"], ["legal_holds.id"], name=op.f("fk_held_samples_hold_id_legal_holds")
        ),
        sa.PrimaryKeyConstraint("hold_id", "key", name=op.f("pk_held_samples")),
    )
    op.create_index(op.f("ix_held_samples_subject_id"), "held_samples", ["subject_id"])
    with op.batch_alter_table("erasure_requests") as batch_op:
        batch_op.add_column(sa.Column("refusal", sa.String(length=40), nullable=True))


def downgrade() -> None:
    refuse_if("legal_holds", None, "legal holds")
    refuse_if("erasure_requests", "refusal IS NOT NULL", "why requests were refused")
    with op.batch_alter_table("erasure_requests") as batch_op:
        batch_op.drop_column("refusal")
    op.drop_index(op.f("ix_held_samples_subject_id"), table_name="held_samples")
    op.drop_table("held_samples")
    op.drop_index(op.f("ix_legal_holds_dataset_id_released_at"), table_name="legal_holds")
    op.drop_table("legal_holds")
