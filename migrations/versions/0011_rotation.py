"""rotation of the secret

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.losing import refuse_if

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secret_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret_state")),
    )
    with op.batch_alter_table("erasure_requests") as batch_op:
        batch_op.add_column(
            sa.Column("secret_generation", sa.Integer(), server_default="0", nullable=False)
        )


def downgrade() -> None:
    refuse_if("secret_state", None, "that the secret was rotated")
    with op.batch_alter_table("erasure_requests") as batch_op:
        batch_op.drop_column("secret_generation")
    op.drop_table("secret_state")
