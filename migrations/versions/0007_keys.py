"""keys for one model, and keys whose secret was rotated

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.losing import refuse_if

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.add_column(sa.Column("model_id", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("previous_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_foreign_key(
            op.f("fk_api_keys_model_id_models"), "models", ["model_id"], ["id"]
        )


def downgrade() -> None:
    refuse_if("api_keys", "model_id IS NOT NULL", "which keys are for one model only")
    refuse_if("api_keys", "rotated_at IS NOT NULL", "which keys were rotated")
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.drop_constraint(op.f("fk_api_keys_model_id_models"), type_="foreignkey")
        batch_op.drop_column("rotated_at")
        batch_op.drop_column("previous_until")
        batch_op.drop_column("previous_digest")
        batch_op.drop_column("model_id")
