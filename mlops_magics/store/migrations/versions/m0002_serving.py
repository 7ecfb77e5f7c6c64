"""Rollouts, scorings, and what serving keeps of revisions, predictions and windows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("revisions", sa.Column("runtime", sa.String(length=16), nullable=True))
    op.add_column("revisions", sa.Column("environment", sa.JSON(), nullable=True))
    op.add_column("predictions", sa.Column("mirror_of", sa.String(length=128), nullable=True))
    op.add_column("predictions", sa.Column("trace_id", sa.String(length=32), nullable=True))
    op.add_column("windows", sa.Column("cpu", sa.Float(), nullable=True))
    op.add_column("windows", sa.Column("memory", sa.BigInteger(), nullable=True))
    op.create_table(
        "rollouts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("endpoint", sa.String(length=255), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("baseline", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("stepped", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint"], ["endpoints.name"], name=op.f("fk_rollouts_endpoint"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    op.create_index("ix_rollouts_endpoint_status", "rollouts", ["endpoint", "status"])
    op.create_table(
        "scorings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rejects", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scorings")),
    )
    op.create_index("ix_scorings_output", "scorings", ["output"])


def downgrade() -> None:
    op.drop_index("ix_scorings_output", table_name="scorings")
    op.drop_table("scorings")
    op.drop_index("ix_rollouts_endpoint_status", table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_column("windows", "memory")
    op.drop_column("windows", "cpu")
    op.drop_column("predictions", "trace_id")
    op.drop_column("predictions", "mirror_of")
    op.drop_column("revisions", "environment")
    op.drop_column("revisions", "runtime")
