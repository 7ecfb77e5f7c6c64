"""Labels that were corrected, and predictions by their callers' ids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("labels", sa.Column("changed", sa.Float(), nullable=True))
    op.add_column("labels", sa.Column("former", sa.JSON(), nullable=True))
    some = sa.text("client_id IS NOT NULL")
    op.create_index(
        "ix_predictions_client_id",
        "predictions",
        ["client_id"],
        sqlite_where=some,
        postgresql_where=some,
    )
