"""The whole MLOps lifecycle from notebook cells.

Each verb is a function that returns a record or raises an error of :mod:`mlops_magics.errors`.
Everything is imported when it is first used, so that ``import mlops_magics`` itself is light.

>>> import mlops_magics as mlops
>>> mlops.GateFailed.__name__
'GateFailed'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_magics.data import (
        Dataset,
        Datasets,
        dataset,
        datasets,
        ingest,
    )
    from mlops_magics.deployment.build import (
        register,
    )
    from mlops_magics.deployment.deploy import (
        deploy,
    )
    from mlops_magics.deployment.doctor import (
        Diagnosis,
        doctor,
    )
    from mlops_magics.deployment.endpoints import (
        Endpoint,
        Endpoints,
        endpoints,
        undeploy,
    )
    from mlops_magics.deployment.logs import (
        Logs,
        logs,
    )
    from mlops_magics.deployment.replay import (
        Replay,
        replay,
    )
    from mlops_magics.deployment.rollback import (
        rollback,
    )
    from mlops_magics.deployment.start import (
        Started,
        start,
    )
    from mlops_magics.deployment.status import (
        Status,
        init,
        status,
    )
    from mlops_magics.deployment.stop import (
        Stopped,
        stop,
    )
    from mlops_magics.deployment.traffic import (
        Traffic,
        traffic,
    )
    from mlops_magics.errors import (
        AlertNotFound,
        CellTimeout,
        DatabaseUnavailable,
        DataError,
        DatasetNotFound,
        DeployConflict,
        DeployError,
        DeployFailed,
        DiskFull,
        EndpointNotFound,
        EvidenceMissing,
        FrontEndMissing,
        GateFailed,
        InvalidArgument,
        InvalidSetting,
        KernelDied,
        KernelNotStarted,
        LockTimeout,
        MissingExtra,
        MlopsError,
        ModelError,
        ModelNotFound,
        NotebookExited,
        NotFound,
        NothingToResume,
        PackageCorrupt,
        ParameterInvalid,
        PipelineError,
        PortTaken,
        PredictionNotFound,
        PredictionRefused,
        ReleaseCorrupt,
        ReleaseFailed,
        ReleaseNotFound,
        RunNotFound,
        SchemaMismatch,
        SecretNotFound,
        ServerError,
        ServerNotRunning,
        SignatureMissing,
        SourceUnreadable,
        SpecInvalid,
        StepDied,
        StepFailed,
        StepTimeout,
        StoreError,
        TrackingUnavailable,
        TriggerNotFound,
        UnknownName,
        UnsupportedModel,
        UntrustedTypes,
        WorkspaceNotFound,
    )
    from mlops_magics.monitoring import (
        DriftReport,
        Feedback,
        MonitorPicture,
        Predictions,
        feedback,
        monitor,
        predictions,
    )
    from mlops_magics.monitoring.alerts.catalogue import (
        acknowledge_alert,
        alert,
        alerts,
        resolve_alert,
    )
    from mlops_magics.monitoring.alerts.origin import (
        Origin,
    )
    from mlops_magics.monitoring.alerts.records import (
        Alert,
        Alerts,
        AlertSettings,
    )
    from mlops_magics.monitoring.appraisal import (
        QualityReport,
        quality,
    )
    from mlops_magics.monitoring.drift import (
        drift,
    )
    from mlops_magics.monitoring.report import (
        MonitorReport,
        monitor_report,
    )
    from mlops_magics.packaging import (
        Package,
        package,
    )
    from mlops_magics.pipelines import (
        InspectedNotebook,
        PipelineComparison,
        PipelineReport,
        PipelineRun,
        PipelineRuns,
        PipelineSchema,
        Workflow,
        ci,
        compare_pipeline,
        inspect_notebook,
        output,
        pipeline_report,
        pipeline_run,
        pipeline_runs,
        pipeline_schema,
        resume_pipeline,
        run_pipeline,
        skip,
    )
    from mlops_magics.pipelines.alerting import (
        configure_alerts,
    )
    from mlops_magics.pipelines.releases.catalogue import (
        release_pipeline,
        releases,
        rollback_pipeline,
    )
    from mlops_magics.pipelines.releases.records import (
        Release,
        Releases,
    )
    from mlops_magics.pipelines.triggers.account import (
        fire_trigger,
        firings,
    )
    from mlops_magics.pipelines.triggers.catalogue import (
        pause_trigger,
        remove_trigger,
        resume_trigger,
        trigger,
        triggers,
    )
    from mlops_magics.pipelines.triggers.records import (
        Firing,
        Firings,
        Trigger,
        Triggers,
    )
    from mlops_magics.records import (
        Record,
        Table,
    )
    from mlops_magics.registry import (
        ModelVersion,
        ModelVersions,
        Promotion,
        model_versions,
        promote,
    )
    from mlops_magics.serving.client import (
        Predicted,
        predict,
    )
    from mlops_magics.serving.offline.batch import (
        score,
    )
    from mlops_magics.serving.offline.scorings import (
        Scoring,
    )
    from mlops_magics.serving.offline.stream import (
        stream,
    )
    from mlops_magics.settings import (
        Settings,
    )
    from mlops_magics.store.secrets import (
        Secret,
        secret,
    )
    from mlops_magics.store.workspace import (
        Workspace,
    )
    from mlops_magics.testing import (
        TestReport,
        test,
    )
    from mlops_magics.training import (
        ActiveRun,
        Comparison,
        Run,
        Runs,
        compare_runs,
        log,
        run,
        runs,
    )

__version__ = "0.1.0"

__all__ = [
    "ActiveRun",
    "Alert",
    "AlertNotFound",
    "AlertSettings",
    "Alerts",
    "CellTimeout",
    "Comparison",
    "DataError",
    "DatabaseUnavailable",
    "Dataset",
    "DatasetNotFound",
    "Datasets",
    "DeployConflict",
    "DeployError",
    "DeployFailed",
    "Diagnosis",
    "DiskFull",
    "DriftReport",
    "Endpoint",
    "EndpointNotFound",
    "Endpoints",
    "EvidenceMissing",
    "Feedback",
    "Firing",
    "Firings",
    "FrontEndMissing",
    "GateFailed",
    "InspectedNotebook",
    "InvalidArgument",
    "InvalidSetting",
    "KernelDied",
    "KernelNotStarted",
    "LockTimeout",
    "Logs",
    "MissingExtra",
    "MlopsError",
    "ModelError",
    "ModelNotFound",
    "ModelVersion",
    "ModelVersions",
    "MonitorPicture",
    "MonitorReport",
    "NotFound",
    "NotebookExited",
    "NothingToResume",
    "Origin",
    "Package",
    "PackageCorrupt",
    "ParameterInvalid",
    "PipelineComparison",
    "PipelineError",
    "PipelineReport",
    "PipelineRun",
    "PipelineRuns",
    "PipelineSchema",
    "PortTaken",
    "Predicted",
    "PredictionNotFound",
    "PredictionRefused",
    "Predictions",
    "Promotion",
    "QualityReport",
    "Record",
    "Release",
    "ReleaseCorrupt",
    "ReleaseFailed",
    "ReleaseNotFound",
    "Releases",
    "Replay",
    "Run",
    "RunNotFound",
    "Runs",
    "SchemaMismatch",
    "Scoring",
    "Secret",
    "SecretNotFound",
    "ServerError",
    "ServerNotRunning",
    "Settings",
    "SignatureMissing",
    "SourceUnreadable",
    "SpecInvalid",
    "Started",
    "Status",
    "StepDied",
    "StepFailed",
    "StepTimeout",
    "Stopped",
    "StoreError",
    "Table",
    "TestReport",
    "TrackingUnavailable",
    "Traffic",
    "Trigger",
    "TriggerNotFound",
    "Triggers",
    "UnknownName",
    "UnsupportedModel",
    "UntrustedTypes",
    "Workflow",
    "Workspace",
    "WorkspaceNotFound",
    "acknowledge_alert",
    "alert",
    "alerts",
    "ci",
    "compare_pipeline",
    "compare_runs",
    "configure_alerts",
    "dataset",
    "datasets",
    "deploy",
    "doctor",
    "drift",
    "endpoints",
    "feedback",
    "fire_trigger",
    "firings",
    "ingest",
    "init",
    "inspect_notebook",
    "log",
    "logs",
    "model_versions",
    "monitor",
    "monitor_report",
    "output",
    "package",
    "pause_trigger",
    "pipeline_report",
    "pipeline_run",
    "pipeline_runs",
    "pipeline_schema",
    "predict",
    "predictions",
    "promote",
    "quality",
    "register",
    "release_pipeline",
    "releases",
    "remove_trigger",
    "replay",
    "resolve_alert",
    "resume_pipeline",
    "resume_trigger",
    "rollback",
    "rollback_pipeline",
    "run",
    "run_pipeline",
    "runs",
    "score",
    "secret",
    "skip",
    "start",
    "status",
    "stop",
    "stream",
    "test",
    "traffic",
    "trigger",
    "triggers",
    "undeploy",
]

# where each name lives; the block above tells the same to type checkers and editors
_HOMES = {
    "data": (
        "Dataset",
        "Datasets",
        "dataset",
        "datasets",
        "ingest",
    ),
    "deployment.build": ("register",),
    "deployment.deploy": ("deploy",),
    "deployment.doctor": (
        "Diagnosis",
        "doctor",
    ),
    "deployment.endpoints": (
        "Endpoint",
        "Endpoints",
        "endpoints",
        "undeploy",
    ),
    "deployment.logs": (
        "Logs",
        "logs",
    ),
    "deployment.replay": (
        "Replay",
        "replay",
    ),
    "deployment.rollback": ("rollback",),
    "deployment.start": (
        "Started",
        "start",
    ),
    "deployment.status": (
        "Status",
        "init",
        "status",
    ),
    "deployment.stop": (
        "Stopped",
        "stop",
    ),
    "deployment.traffic": (
        "Traffic",
        "traffic",
    ),
    "errors": (
        "AlertNotFound",
        "CellTimeout",
        "DataError",
        "DatabaseUnavailable",
        "DatasetNotFound",
        "DeployConflict",
        "DeployError",
        "DeployFailed",
        "DiskFull",
        "EndpointNotFound",
        "EvidenceMissing",
        "FrontEndMissing",
        "GateFailed",
        "InvalidArgument",
        "InvalidSetting",
        "KernelDied",
        "KernelNotStarted",
        "LockTimeout",
        "MissingExtra",
        "MlopsError",
        "ModelError",
        "ModelNotFound",
        "NotFound",
        "NotebookExited",
        "NothingToResume",
        "PackageCorrupt",
        "ParameterInvalid",
        "PipelineError",
        "PortTaken",
        "PredictionNotFound",
        "PredictionRefused",
        "ReleaseCorrupt",
        "ReleaseFailed",
        "ReleaseNotFound",
        "RunNotFound",
        "SchemaMismatch",
        "SecretNotFound",
        "ServerError",
        "ServerNotRunning",
        "SignatureMissing",
        "SourceUnreadable",
        "SpecInvalid",
        "StepDied",
        "StepFailed",
        "StepTimeout",
        "StoreError",
        "TrackingUnavailable",
        "TriggerNotFound",
        "UnknownName",
        "UnsupportedModel",
        "UntrustedTypes",
        "WorkspaceNotFound",
    ),
    "monitoring": (
        "DriftReport",
        "Feedback",
        "MonitorPicture",
        "Predictions",
        "feedback",
        "monitor",
        "predictions",
    ),
    "monitoring.alerts.catalogue": (
        "acknowledge_alert",
        "alert",
        "alerts",
        "resolve_alert",
    ),
    "monitoring.alerts.origin": ("Origin",),
    "monitoring.alerts.records": (
        "Alert",
        "AlertSettings",
        "Alerts",
    ),
    "monitoring.appraisal": (
        "QualityReport",
        "quality",
    ),
    "monitoring.report": (
        "MonitorReport",
        "monitor_report",
    ),
    "monitoring.drift": ("drift",),
    "packaging": (
        "Package",
        "package",
    ),
    "pipelines": (
        "InspectedNotebook",
        "PipelineComparison",
        "PipelineReport",
        "PipelineRun",
        "PipelineSchema",
        "Workflow",
        "ci",
        "compare_pipeline",
        "inspect_notebook",
        "output",
        "pipeline_report",
        "pipeline_run",
        "pipeline_schema",
        "PipelineRuns",
        "output",
        "pipeline_report",
        "pipeline_run",
        "pipeline_runs",
        "resume_pipeline",
        "run_pipeline",
        "skip",
    ),
    "records": (
        "Record",
        "Table",
    ),
    "registry": (
        "ModelVersion",
        "ModelVersions",
        "Promotion",
        "model_versions",
        "promote",
    ),
    "serving.offline.batch": ("score",),
    "serving.client": (
        "Predicted",
        "predict",
    ),
    "serving.offline.scorings": ("Scoring",),
    "serving.offline.stream": ("stream",),
    "settings": ("Settings",),
    "store.secrets": (
        "Secret",
        "secret",
    ),
    "store.workspace": ("Workspace",),
    "testing": (
        "TestReport",
        "test",
    ),
    "training": (
        "ActiveRun",
        "Comparison",
        "Run",
        "Runs",
        "compare_runs",
        "log",
        "run",
        "runs",
    ),
    "pipelines.triggers.account": (
        "fire_trigger",
        "firings",
    ),
    "pipelines.triggers.catalogue": (
        "pause_trigger",
        "remove_trigger",
        "resume_trigger",
        "trigger",
        "triggers",
    ),
    "pipelines.triggers.records": (
        "Firing",
        "Firings",
        "Trigger",
        "Triggers",
    ),
    "pipelines.alerting": ("configure_alerts",),
    "pipelines.releases.catalogue": (
        "release_pipeline",
        "releases",
        "rollback_pipeline",
    ),
    "pipelines.releases.records": (
        "Release",
        "Releases",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # found without this function the next time
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Give a shell the magics: ``%load_ext mlops_magics``."""
    from mlops_magics import magics

    magics.load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics from a shell: ``%unload_ext mlops_magics``."""
    from mlops_magics import magics

    magics.unload_ipython_extension(shell)
