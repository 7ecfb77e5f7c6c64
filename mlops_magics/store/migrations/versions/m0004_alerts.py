"""Alerts with their states, what judges them, and their deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column(
        "alerts", sa.Column("kind", sa.String(length=16), nullable=False, server_default="")
    )
    op.add_column("alerts", sa.Column("revision", sa.BigInteger(), nullable=True))
    op.add_column("alerts", sa.Column("silenced", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("alerts", sa.Column("acknowledged", sa.Float(), nullable=True))
    op.add_column("alerts", sa.Column("resolved", sa.Float(), nullable=True))
    op.add_column("alerts", sa.Column("actor", sa.String(length=255), nullable=True))
    op.add_column("alerts", sa.Column("reason", sa.Text(), nullable=True))
    op.create_index("ix_alerts_endpoint_key_status", "alerts", ["endpoint", "key", "status"])
    op.add_column("firings", sa.Column("alerts", sa.JSON(), nullable=True))
    op.create_table(
        "watches",
        sa.Column("endpoint", sa.String(length=255), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=True),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint"],
            ["endpoints.name"],
            name=op.f("fk_watches_endpoint"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint", name=op.f("pk_watches")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", key, nullable=False),
        sa.Column("alert", sa.BigInteger(), nullable=False),
        sa.Column("sink", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert"], ["alerts.id"], name=op.f("fk_deliveries_alert"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("alert", "sink", name="uq_deliveries_key"),
    )
    op.create_index("ix_deliveries_status_due", "deliveries", ["status", "due"])
