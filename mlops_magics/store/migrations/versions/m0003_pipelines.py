"""Cached and resumed steps, releases of pipelines, triggers and their firings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("pipeline_runs", sa.Column("why", sa.JSON(), nullable=True))
    op.add_column("pipeline_runs", sa.Column("release", sa.String(length=80), nullable=True))
    op.create_index(op.f("ix_pipeline_runs_release"), "pipeline_runs", ["release"])
    op.add_column("pipeline_steps", sa.Column("key", sa.String(length=80), nullable=True))
    op.add_column("pipeline_steps", sa.Column("dependencies", sa.JSON(), nullable=True))
    op.add_column("pipeline_steps", sa.Column("cached_from", sa.String(length=40), nullable=True))
    op.add_column("pipeline_steps", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column(
        "pipeline_steps", sa.Column("tries", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_index(op.f("ix_pipeline_steps_key"), "pipeline_steps", ["key"])
    op.create_table(
        "releases",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("workspace", sa.String(length=32), nullable=False),
        sa.Column("pipeline", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("smoke", sa.String(length=40), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("workspace", "pipeline", "number", name="uq_releases_key"),
    )
    op.create_table(
        "triggers",
        sa.Column("id", key, nullable=False),
        sa.Column("workspace", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("pipeline", sa.String(length=255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_triggers")),
        sa.UniqueConstraint("workspace", "name", name="uq_triggers_key"),
    )
    op.create_table(
        "firings",
        sa.Column("id", key, nullable=False),
        sa.Column("trigger", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("run", sa.String(length=40), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trigger"], ["triggers.id"], name=op.f("fk_firings_trigger"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firings")),
        sa.UniqueConstraint("trigger", "key", name="uq_firings_key"),
    )
    op.create_index("ix_firings_status_due", "firings", ["status", "due"])


def downgrade() -> None:
    op.drop_index("ix_firings_status_due", table_name="firings")
    op.drop_table("firings")
    op.drop_table("triggers")
    op.drop_table("releases")
    op.drop_index(op.f("ix_pipeline_steps_key"), table_name="pipeline_steps")
    for column in ("tries", "reason", "cached_from", "dependencies", "key"):
        op.drop_column("pipeline_steps", column)
    op.drop_index(op.f("ix_pipeline_runs_release"), table_name="pipeline_runs")
    for column in ("release", "why"):
        op.drop_column("pipeline_runs", column)
