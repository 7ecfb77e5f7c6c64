"""Move aliases: forward on passing evidence, back to what was there before."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import EvidenceMissing, InvalidArgument, ModelNotFound
from mlops_magics.registry.records import Promotion
from mlops_magics.store import evidence, ledger, models
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    from mlops_magics.store.models import ModelRef

__all__ = ["promote", "rollback_alias"]

_KEPT = 50  # former versions of an alias


def promote(
    model: Any,
    alias: str = "champion",
    *,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> Promotion:
    """Move an alias to a version whose test report passed: gates were asked for, and all held.

    A gate that failed counts until a later report asks it again and it holds. The package is
    verified again, the report is read itself and not only its tag, and the ledger records who,
    why and on which evidence.

    Parameters
    ----------
    model : ModelVersion or str
        ``name/3``, ``name@challenger``, or ``name`` for its latest version.
    alias : str
        The alias.
    reason : str, optional
        Why.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EvidenceMissing
        The version has no report, one without gates, or one that did not pass.
    InvalidArgument
        The model is not registered.
    """
    workspace = resolve(workspace)
    check_alias(alias)
    text = getattr(model, "uri", model)
    if isinstance(text, str) and not set(text) & set("@/:"):
        text = f"{text}/latest"  # a bare name otherwise means its champion
    ref = models.resolve(workspace, text)
    if not ref.version:
        raise InvalidArgument(
            f"model {ref} is not registered, so no alias can name it",
            hint=f"mlops register {ref.uri} --name NAME --alias {alias}",
        )
    path = models.fetch(workspace, ref)
    report = evidence.report_of(workspace, ref, path)
    check_evidence(ref, report)
    assert report is not None
    tag_evidence(workspace, ref, report)
    details = {
        "reason": reason or "",
        "digest": ref.tags[models.DIGEST_TAG],
        "report_run": report["run_id"],
        "gates": [gate["message"] for gate in report["gates"]],
    }
    with workspace.lock("registry"):
        return _move(workspace, ref.name, alias, ref.version, "promote", reason, details)


def rollback_alias(
    name: str,
    alias: str = "champion",
    *,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> Promotion:
    """Move an alias back to the version that it named before.

    Rolled back again it goes one version further back.

    Raises
    ------
    ModelNotFound
        The model or alias does not exist, or there was no version before.
    """
    workspace = resolve(workspace)
    check_alias(alias)
    current = models.resolve(workspace, f"{name}@{alias}")
    with workspace.lock("registry"):
        history = [
            version
            for version in _history(workspace, name, alias)
            if version != current.version and _exists(workspace, name, version)
        ]
        if not history:
            raise ModelNotFound(
                f"{name}@{alias} named no version before {current.version}",
                hint=f"choose one: mlops registry {name}",
            )
        details = {"reason": reason or ""}
        return _move(workspace, name, alias, history[-1], "rollback", reason, details)


def check_alias(alias: str) -> None:
    """Refuse what MLflow would not take as an alias."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", alias) or re.fullmatch(r"v\d+", alias):
        raise InvalidArgument(
            f"{alias!r} cannot be an alias",
            hint="a letter, then letters, digits, '-' and '_'; usual: champion, challenger",
        )


def check_evidence(ref: ModelRef, report: dict[str, Any] | None) -> None:
    """Refuse a model whose report is missing, has no gates, or did not pass."""
    if report is None:
        raise EvidenceMissing(f"model {ref} has no test report", hint=test_command(ref, None))
    hint = test_command(ref, report)
    passed = evidence.verdict(report)
    if passed is None:
        raise EvidenceMissing(
            f"model {ref} was tested without gates, so nothing says that it is good enough",
            hint=hint,
        )
    if not passed:
        failed = [gate for gate in report["gates"] if not gate["passed"]]
        if failed:
            said = f"the tests of model {ref} did not pass: {failed[0]['message']}"
        else:
            earlier = report["unsettled"][0]["message"]
            said = f"model {ref} failed earlier, and was not asked again: {earlier}"
        raise EvidenceMissing(said, hint=hint)


def test_command(ref: ModelRef, report: dict[str, Any] | None) -> str:
    """Return the command whose report would let the model pass, as far as it is known."""
    if report is None:
        return f"mlops test {ref.uri} --data HOLDOUT --target TARGET --min METRIC=VALUE"
    failed = [
        gate for gate in [*report["gates"], *report.get("unsettled", ())] if not gate["passed"]
    ]
    options = []
    for gate in failed:
        if gate["kind"] == "no_worse_than":
            options.append(f"--no-worse-than {gate['against']}")
        else:
            options.append(f"--{gate['kind'].replace('_', '-')} {gate['metric']}=VALUE")
    if not options:
        metric = report["metrics"][0]["name"] if report["metrics"] else "METRIC"
        options.append(f"--min {metric}=VALUE")
    data = str(report["data"])
    data = "HOLDOUT" if " " in data else data
    gates = " ".join(dict.fromkeys(options))
    return f"mlops test {ref.uri} --data {data} --target {report['target']} {gates}"


def tag_evidence(workspace: Workspace, ref: ModelRef, report: dict[str, Any]) -> None:
    """Let a version's tags say what its newest report says; it may have been made elsewhere."""
    facts = evidence.tags_of(report)
    if any(ref.tags.get(key) != value for key, value in facts.items()):
        evidence.tag(workspace, ref, report)


def _move(
    workspace: Workspace,
    name: str,
    alias: str,
    version: str,
    action: str,
    reason: str | None,
    details: dict[str, Any],
) -> Promotion:
    tracking = workspace.tracking
    with tracking.mapped():
        aliases = tracking.client.get_registered_model(name).aliases
    previous = str(aliases[alias]) if alias in aliases else None
    entry = None
    if previous != version:
        history = _history(workspace, name, alias)
        if action == "rollback":
            history = history[: _last_index(history, version)]
        elif previous is not None:
            history = [*history, previous][-_KEPT:]
        # the entry is committed only when MLflow has moved the alias
        with workspace.database.begin() as connection, tracking.mapped():
            entry = ledger.append(
                connection,
                actor=workspace.actor,
                action=action,
                subject=f"{name}/{version}",
                details={"alias": alias, "previous": previous, **details},
            )
            tracking.client.set_registered_model_tag(name, _tag(alias), ",".join(history))
            tracking.client.set_registered_model_alias(name, alias, version)
    return Promotion(
        name=name,
        alias=alias,
        version=version,
        previous=previous,
        action=action,
        actor=workspace.actor,
        reason=reason or "",
        entry=entry,
        uri=f"models:/{name}@{alias}",
    )


def _history(workspace: Workspace, name: str, alias: str) -> list[str]:
    with workspace.tracking.mapped():
        tags = workspace.tracking.client.get_registered_model(name).tags
    return [version for version in tags.get(_tag(alias), "").split(",") if version.isdigit()]


def _tag(alias: str) -> str:
    return f"mlops.history.{alias}"


def _last_index(history: list[str], version: str) -> int:
    return len(history) - 1 - history[::-1].index(version)


def _exists(workspace: Workspace, name: str, version: str) -> bool:
    try:
        models.resolve(workspace, f"{name}/{version}")
    except ModelNotFound:
        return False
    return True
