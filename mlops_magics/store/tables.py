"""The database's tables.

Times are UTC seconds since 1970 as floats: they sort, subtract and compare the same in SQLite and
PostgreSQL. JSON columns hold what is only read whole.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = [
    "alerts",
    "datasets",
    "deliveries",
    "endpoints",
    "firings",
    "labels",
    "ledger",
    "metadata",
    "pipeline_runs",
    "pipeline_steps",
    "predictions",
    "releases",
    "revisions",
    "rollouts",
    "scorings",
    "spool",
    "triggers",
    "watches",
    "windows",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives a rowid only to INTEGER keys
_Key = BigInteger().with_variant(Integer, "sqlite")

datasets = Table(
    "datasets",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", String(80), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("schema", JSON, nullable=False),
    Column("profile", JSON, nullable=False),
    Column("source", JSON, nullable=False),
    Column("owner", String(255), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("tags", JSON, nullable=False, default=dict),
    Column("created", Float, nullable=False),
    UniqueConstraint("name", "version"),
    UniqueConstraint("name", "digest", name="uq_datasets_name_digest"),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("generation", Integer, nullable=False, default=0),
    Column("traffic", JSON, nullable=False, default=list),  # [{revision, variant, percent}]
    Column("settings", JSON, nullable=False, default=dict),
    # the workspace whose server runs it, by its id, and where that is
    Column("workspace", String(32)),
    Column("place", Text),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", _Key, primary_key=True),
    Column(
        "endpoint", String(255), ForeignKey("endpoints.name", ondelete="CASCADE"), nullable=False
    ),
    Column("number", Integer, nullable=False),
    Column("model", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    Column("run_id", String(64)),
    Column("package", Text, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("workers", Integer, nullable=False, default=1),
    Column("runtime", String(16)),  # native or onnx; null: what the package says
    Column("environment", JSON),  # of its own: {python, digest}; null: the server's
    # STARTING, SERVING, WARM, RETIRED, FAILED
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("endpoint", "number"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", String(160), primary_key=True),
    Column("request_id", String(128), nullable=False, index=True),
    Column("client_id", String(128)),
    Column("row", Integer, nullable=False, default=0),
    Column("time", Float, nullable=False),
    Column("endpoint", String(255), nullable=False),
    Column("revision", BigInteger),
    Column("version", String(64)),
    Column("variant", String(32)),
    Column("inputs", JSON),
    Column("output", JSON),
    Column("status", Integer, nullable=False),
    Column("latency", Float, nullable=False),  # milliseconds
    Column("error", Text),
    Column("mirror_of", String(128)),  # of a shadow's answer: the request that was mirrored
    Column("trace_id", String(32)),  # W3C trace context
    Index("ix_predictions_endpoint_time", "endpoint", "time"),
    # most requests have none
    Index(
        "ix_predictions_client_id",
        "client_id",
        sqlite_where=text("client_id IS NOT NULL"),
        postgresql_where=text("client_id IS NOT NULL"),
    ),
)

labels = Table(
    "labels",
    metadata,
    Column("prediction_id", String(160), primary_key=True),
    Column("endpoint", String(255), nullable=False, index=True),
    Column("label", JSON, nullable=False),
    Column("received", Float, nullable=False),  # the first label of the prediction
    Column("changed", Float),  # when another label replaced one
    Column("former", JSON),  # what was replaced: [{label, since}]
)

windows = Table(
    "windows",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("endpoint", String(255), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("start", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("latency", JSON, nullable=False),  # counts on fixed logarithmic edges
    Column("profile", JSON),
    Column("cpu", Float),  # seconds of cores that its workers have used
    Column("memory", BigInteger),  # the most bytes that its workers have held together
    UniqueConstraint("endpoint", "revision", "start", name="uq_windows_key"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", _Key, primary_key=True),
    Column(
        "endpoint", String(255), ForeignKey("endpoints.name", ondelete="CASCADE"), nullable=False
    ),
    Column("revision", BigInteger, nullable=False),  # the candidate
    Column("baseline", BigInteger, nullable=False),
    Column("variant", String(32), nullable=False),  # canary or shadow
    Column("status", String(16), nullable=False),  # RUNNING, PROMOTED, ROLLED_BACK, ENDED
    Column("steps", JSON, nullable=False, default=list),
    Column("step", Integer, nullable=False, default=0),
    Column("rules", JSON, nullable=False, default=dict),
    Column("evidence", JSON, nullable=False, default=dict),
    Column("reason", Text),
    Column("actor", String(255), nullable=False),
    Column("started", Float, nullable=False),
    Column("stepped", Float, nullable=False),
    Column("ended", Float),
    Index("ix_rollouts_endpoint_status", "endpoint", "status"),
)

scorings = Table(
    "scorings",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(16), nullable=False),  # batch or stream
    Column("model", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    Column("digest", String(80), nullable=False),
    Column("source", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("status", String(16), nullable=False),  # RUNNING, FINISHED, FAILED, STOPPED
    Column("rows", BigInteger, nullable=False, default=0),
    Column("rejects", BigInteger, nullable=False, default=0),
    Column("position", JSON, nullable=False, default=dict),
    Column("reason", Text),
    Column("actor", String(255), nullable=False),
    Column("started", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("ended", Float),
    Index("ix_scorings_output", "output"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("endpoint", String(255), nullable=False, index=True),
    Column("key", String(255), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("evidence", JSON, nullable=False, default=dict),
    Column("status", String(16), nullable=False),  # OPEN, ACKNOWLEDGED, RESOLVED
    Column("opened", Float, nullable=False),
    Column("updated", Float, nullable=False),  # the end of the last window in which it held
    Column("count", Integer, nullable=False, default=1),  # such windows
    Column("kind", String(16), nullable=False, default="", server_default=""),
    Column("revision", BigInteger),  # that served
    Column("silenced", Integer, nullable=False, default=0, server_default="0"),
    Column("acknowledged", Float),
    Column("resolved", Float),
    Column("actor", String(255)),  # who acknowledged or resolved it
    Column("reason", Text),  # that they gave
    Index("ix_alerts_endpoint_key_status", "endpoint", "key", "status"),
)

watches = Table(
    "watches",
    metadata,
    Column(
        "endpoint", String(255), ForeignKey("endpoints.name", ondelete="CASCADE"), primary_key=True
    ),
    Column("settings", JSON, nullable=False, default=dict),  # what differs from the defaults
    Column("until", Float),  # the end of the last window that was judged
    Column("state", JSON, nullable=False, default=dict),  # what held in the last windows
    Column("actor", String(255)),
    Column("updated", Float, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("alert", BigInteger, ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Column("sink", String(255), nullable=False),  # the same for the same kind and target
    Column("kind", String(16), nullable=False),  # webhook, command, rollback
    Column("target", JSON, nullable=False),
    Column("status", String(16), nullable=False),  # WAITING, SENDING, DELIVERED, FAILED, SKIPPED
    Column("tries", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False),  # not before; of one that is SENDING: taken over then
    Column("outcome", Text),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("alert", "sink", name="uq_deliveries_key"),
    Index("ix_deliveries_status_due", "status", "due"),
)

spool = Table(
    "spool",
    metadata,
    Column("file", String(255), primary_key=True),
    Column("offset", BigInteger, nullable=False),
)

pipeline_runs = Table(
    "pipeline_runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("pipeline", String(255), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("status", String(16), nullable=False),  # RUNNING, FINISHED, FAILED, SKIPPED, CRASHED
    Column("reason", Text),
    Column("folder", Text, nullable=False),
    Column("run_id", String(64)),  # MLflow's parent run
    Column("runner", JSON),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("heartbeat", Float, nullable=False),
    Column("why", JSON),  # {kind, reason, trigger, firing}: what asked for it; null: a person
    Column("release", String(80), index=True),  # the release that it ran; null: the working tree
)

pipeline_steps = Table(
    "pipeline_steps",
    metadata,
    Column("run", String(40), ForeignKey("pipeline_runs.id", ondelete="CASCADE"), primary_key=True),
    Column("step", String(255), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("notebook", Text, nullable=False),
    Column("parameters", JSON, nullable=False, default=dict),
    Column("outputs", JSON, nullable=False, default=dict),
    Column("error", JSON),
    Column("run_id", String(64)),  # MLflow's child run
    Column("started", Float),
    Column("ended", Float),
    Column("key", String(80), index=True),  # digest of all that its outcome depends on
    Column("dependencies", JSON),  # what the key was made of, by kind and name
    Column("cached_from", String(40)),  # the run whose outcome was taken; status CACHED
    Column("reason", Text),  # why it ran, or why it did not
    Column("tries", Integer, nullable=False, default=0, server_default="0"),
)

releases = Table(
    "releases",
    metadata,
    Column("id", String(80), primary_key=True),  # PIPELINE-NUMBER
    Column("workspace", String(32), nullable=False),
    Column("pipeline", String(255), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(80), nullable=False),  # of all its files
    Column("folder", Text, nullable=False),
    Column("path", Text, nullable=False),  # of the specification, in the folder
    Column("manifest", JSON, nullable=False),  # digest by file; commit, lock, smoke parameters
    Column("status", String(16), nullable=False),  # TESTING, CURRENT, FORMER, FAILED
    Column("reason", Text),
    Column("smoke", String(40)),  # the pipeline run that tested it
    Column("actor", String(255), nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("workspace", "pipeline", "number", name="uq_releases_key"),
)

triggers = Table(
    "triggers",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("workspace", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("pipeline", String(255), nullable=False),
    Column("path", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # cron, data, alert, decay, code, registry
    Column("settings", JSON, nullable=False, default=dict),
    Column("state", JSON, nullable=False, default=dict),  # what it saw when it last looked
    Column("enabled", Integer, nullable=False, default=1),
    Column("actor", String(255), nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("workspace", "name", name="uq_triggers_key"),
)

firings = Table(
    "firings",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("trigger", BigInteger, ForeignKey("triggers.id", ondelete="CASCADE"), nullable=False),
    # what happened, said the same by every agent that sees it; one firing of it, whoever looks
    Column("key", String(255), nullable=False),
    Column("time", Float, nullable=False),
    Column("reason", Text, nullable=False),
    # WAITING, RUNNING, FINISHED, FAILED, SKIPPED (cooldown, or coalesced into a later one)
    Column("status", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False),  # not before
    Column("run", String(40)),
    Column("outcome", Text),
    Column("alerts", JSON),  # the alerts that it was fired by
    UniqueConstraint("trigger", "key", name="uq_firings_key"),
    Index("ix_firings_status_due", "status", "due"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("seq", _Key, primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("origin", String(255), nullable=False),
    Column("action", String(64), nullable=False, index=True),
    Column("subject", String(255), nullable=False, index=True),
    Column("details", Text, nullable=False),  # JSON text exactly as it was hashed
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
