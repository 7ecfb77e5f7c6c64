"""Deploy: a new revision starts, passes its pre-checks, then takes the traffic."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import checks, environments, plan, rollout, shares
from mlops_magics.deployment.checks import Progress
from mlops_magics.deployment.endpoints import Endpoint, check_name, endpoint, refuse_foreign
from mlops_magics.deployment.order import Order, alias_of, check_package, reference, runtime_of
from mlops_magics.deployment.policy import log_settings
from mlops_magics.deployment.rules import candidacy
from mlops_magics.errors import DeployFailed, InvalidArgument, MlopsError
from mlops_magics.serving import server
from mlops_magics.store import evidence, ledger, models, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["carry_out", "deploy"]


def deploy(
    model: Any,
    endpoint: str | None = None,
    *,
    canary: str | float | None = None,
    shadow: str | float | bool | None = None,
    steps: str | Sequence[float] | None = None,
    every: str | float | None = None,
    min_requests: int | None = None,
    rules: Mapping[str, Any] | None = None,
    analysis: str | None = None,
    follow: bool = False,
    workers: int | None = None,
    runtime: str | None = None,
    latency_budget: float | None = None,
    log: str | None = None,
    log_fraction: float | None = None,
    log_mask: str | Sequence[str] | None = None,
    retention: str | float | None = None,
    env: str = "shared",
    progress: Progress | None = None,
    workspace: Workspace | None = None,
) -> Endpoint:
    """Serve a model at an endpoint; traffic moves when its pre-checks have passed.

    The server is started if it does not run. The revision that served before stays warm for a
    rollback; when the new one fails, it serves on as if nothing had been.

    With ``canary`` the revision gets a share of the requests beside the champion, with ``shadow``
    copies of them whose answers nobody gets. The server compares the two by the rules: a canary
    goes up step by step and is promoted, or is rolled back; a shadow stays until a person decides
    or a rule is broken. See it with `traffic`.

    Parameters
    ----------
    model : str, ModelVersion or Package
        ``name``, ``name@alias``, ``name/3``, a ``models:/`` URI, or a record that has one.
    endpoint : str, optional
        Default: the model's name.
    canary : float or str, optional
        Per cent of the requests, such as ``10`` or ``"10%"``; 50 % is the next step.
    shadow : bool, float or str, optional
        Per cent of the requests that are mirrored; True for all.
    steps : sequence of float, or str, optional
        The canary's shares, one after another: ``"10%,25%,50%"``.
    every : str or float, optional
        How long a step lasts at least; default a minute.
    min_requests : int, optional
        Requests that the candidate must have answered in a step; default 200.
    rules : mapping, optional
        What is allowed of ``errors`` (0.01: one point more failed requests), ``latency`` (1.5
        times the 95th percentile), ``quality`` (0.02: loss of accuracy, or of the mean absolute
        error as a share) and ``shift`` (0.25: population stability index of the predictions).
        None or ``"off"`` switches one off.
    analysis : {"auto", "watch", "off"}, optional
        ``watch`` rolls back, but leaves the promotion to a person; ``off`` leaves everything.
    follow : bool
        Whether the endpoint follows the model's alias from now on: when it is moved, by whomever,
        the version that it names is brought up, checked and swapped in.
    workers : int, optional
        Processes; default: the setting ``workers``.
    runtime : {"native", "onnx"}, optional
        What computes the model; default: ONNX Runtime where the package has a model for it that
        was proven to answer the same, else the model's own library.
    latency_budget : float, optional
        Milliseconds that 95 % of single-row requests must keep to.
    log : {"durable", "strict", "off"}, optional
        Whether requests are kept in the inference table; when that is not possible, ``durable``
        answers all the same and ``strict`` does not. Default of this and the next three: as the
        endpoint does, which begins with durable, all requests and columns, for ever.
    log_fraction : float, optional
        Of the requests, those that are kept: 0.1 for a tenth.
    log_mask : str or sequence of str, optional
        Input columns whose values are not kept: ``"ssn,email"``.
    retention : str or float, optional
        How long rows are kept: ``"30d"``, seconds, or ``"forever"``.
    env : {"shared", "own"}
        ``own``: its workers run in a virtual environment made by uv from the package's exact lock.
        ``shared``: in the server's, whose libraries must be of the releases that the model was
        packaged with.
    progress : callable, optional
        Called with what is done, of how much, and what comes now.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    DeployFailed
        The model cannot be loaded, a pre-check did not hold, the server's environment has other
        libraries, or its own cannot be made.
    MissingExtra
        Its own environment needs uv.
    DeployConflict
        Another deployment to this endpoint is under way, or came first; or a canary or shadow is
        beside its champion already.
    DeployError
        A canary or shadow was asked for where no champion serves.
    ModelNotFound, PackageCorrupt, SignatureMissing, PortTaken
        Before anything is changed.
    """
    workspace = resolve(workspace)
    report = progress or (lambda done, total, note: None)
    if env not in environments.KINDS:
        raise InvalidArgument(f"env = {env!r} is neither 'shared' nor 'own'")
    count = workspace.settings.workers if workers is None else workers
    if count < 1:
        raise InvalidArgument(f"workers = {count} is no positive number")
    if not (endpoint is None or isinstance(endpoint, str)):
        raise InvalidArgument(
            f"endpoint = {endpoint!r} is a {type(endpoint).__name__}, not a name",
            hint="how many processes serve it is said with --workers; in Python workers=2",
        )
    beside = candidacy(
        canary=canary,
        shadow=shadow,
        steps=steps,
        every=every,
        min_requests=min_requests,
        rules=rules,
        analysis=analysis,
    )
    if beside is not None and follow:
        raise InvalidArgument(
            "an endpoint that follows an alias swaps at once, without a canary or shadow",
            hint="leave out --follow, or the candidate's options",
        )
    uri = reference(model)
    report(0, None, "fetching the package")
    ref = models.resolve(workspace, uri)
    name = check_name(endpoint or ref.name)
    alias = alias_of(uri, ref) if follow else None
    package = models.fetch(workspace, ref)
    check_package(package)  # refused here, not by a server
    tested = evidence.report_of(workspace, ref, package)
    if tested is not None:  # perhaps made on another machine, after the package
        evidence.settle(workspace, tested, package.name)
    policy = log_settings(
        package, mode=log, fraction=log_fraction, mask=log_mask, retention=retention
    )
    carry_out(
        workspace,
        Order(
            ref=ref,
            package=package,
            endpoint=name,
            workers=count,
            runtime=runtime_of(package, runtime),
            latency_budget=latency_budget,
            log=policy,
            candidacy=beside,
            follow=alias,
            actor=workspace.actor,
            why={},
            report=report,
            env=env,
        ),
    )
    return _endpoint(workspace, name)


_endpoint = endpoint  # the verb's parameter has the same name


def carry_out(workspace: Workspace, order: Order) -> None:
    """Bring a revision up, hold it to the checks, and give it its traffic.

    Raises
    ------
    DeployFailed, DeployConflict, DeployError
        As `deploy`.
    """
    with plan.deploying(workspace, order.endpoint):
        _deploy(workspace, order)
    plan.await_applied(workspace, plan.project(workspace))


def _deploy(workspace: Workspace, order: Order) -> None:
    report, package = order.report, order.package
    try:
        environment = environments.of(workspace, order)
    except DeployFailed as exc:
        raise _refusal(order, exc) from exc
    report(0, None, "starting the server")
    plan.project(workspace)
    server.start(workspace)
    revision, generation = _claim(workspace, order, environment)
    try:
        planned = plan.project(workspace)
        checks.await_workers(workspace, revision, order.workers, planned, report)
        report(order.workers, order.workers, "checking golden predictions")
        golden = checks.check_golden(workspace, revision, package, order.runtime)
        budget, latency = order.latency_budget, None
        if budget is not None:
            report(order.workers, order.workers, "checking the latency")
            latency = checks.check_latency(workspace, revision, package, budget)
        evidence = {"golden": golden, "latency_p95_ms": latency, "budget_ms": budget}
        with workspace.database.begin() as connection:
            _take_traffic(connection, order, revision, generation, evidence)
    except BaseException as exc:
        _fail(workspace, revision, exc)
        if isinstance(exc, DeployFailed):
            raise _refusal(order, exc) from exc
        raise
    environments.prune(workspace)


def _refusal(order: Order, exc: DeployFailed) -> DeployFailed:
    told = f"{order.ref} was not deployed to {order.endpoint!r}: {exc.message}"
    return DeployFailed(told, hint=exc.hint)


def _claim(
    workspace: Workspace, order: Order, environment: Mapping[str, Any] | None
) -> tuple[int, int]:
    """Enter a revision as STARTING; return its id and the endpoint's generation."""
    now = time.time()
    name, ref = order.endpoint, order.ref
    revisions, named = tables.revisions, tables.endpoints
    with workspace.database.begin() as connection:
        connection.execute(
            workspace.database.insert_or_ignore(named).values(
                name=name, generation=0, traffic=[], settings={}, created=now, updated=now
            )
        )
        row = shares.read(connection, name)
        starting = sa.select(revisions.c.id).where(
            revisions.c.endpoint == name, revisions.c.status == "STARTING"
        )
        if row.traffic or connection.execute(starting).first():
            refuse_foreign(workspace, row)  # one that is out of service is anybody's to take
        if order.candidacy is not None:
            rollout.check_place(row, order.candidacy)
        connection.execute(
            sa.update(named)
            .where(named.c.name == name)
            .values(workspace=workspace.id, place=workspace.place)
        )
        plan.bury(connection, name)
        last = connection.execute(
            sa.select(sa.func.max(revisions.c.number)).where(revisions.c.endpoint == name)
        ).scalar()
        inserted = connection.execute(
            sa.insert(revisions).values(
                endpoint=name,
                number=(last or 0) + 1,
                model=ref.name,
                version=ref.version or ref.model_id,
                run_id=ref.run_id or None,
                package=str(order.package),
                digest=order.package.name,
                workers=order.workers,
                environment=environment,
                runtime=order.runtime,
                status="STARTING",
                created=now,
                updated=now,
            )
        )
        assert inserted.inserted_primary_key is not None
        return int(inserted.inserted_primary_key[0]), int(row.generation)


def _take_traffic(
    connection: Connection, order: Order, revision: int, generation: int, evidence: dict[str, Any]
) -> None:
    """Give a revision its traffic, if nothing else has changed the endpoint meanwhile."""
    now, name, beside = time.time(), order.endpoint, order.candidacy
    settings = order.settings(shares.read(connection, name).settings)
    details: dict[str, Any] = {}
    if beside is None:
        before = shares.flip(connection, name, revision, generation, settings=settings, now=now)
        if shares.finish(connection, name, "ENDED", "another version was deployed", now=now):
            details["ended"] = "the rollout that ran"
    else:
        share = beside.steps[0]
        before = shares.add(
            connection,
            name,
            revision,
            beside.variant,
            share,
            generation,
            settings=settings,
            now=now,
        )
        rollout.begin(connection, name, revision, before[0]["revision"], beside, order.actor, now)
        details |= {"variant": beside.variant, "percent": share, "rules": beside.rules.to_dict()}
    row = connection.execute(
        sa.select(tables.revisions).where(tables.revisions.c.id == revision)
    ).one()
    ledger.append(
        connection,
        actor=order.actor,
        action="deploy",
        subject=f"endpoint {name}",
        details={
            "model": f"{row.model}/{row.version}",
            "revision": row.number,
            "digest": row.digest,
            "runtime": row.runtime,
            "before": before,
            "checks": evidence,
            **({"follows": f"{order.ref.name}@{order.follow}"} if order.follow else {}),
            **details,
            **order.why,
        },
    )


def _fail(workspace: Workspace, revision: int, exc: BaseException) -> None:
    """Leave the revision FAILED with its reason; its workers end, the previous one serves on."""
    if isinstance(exc, MlopsError):
        reason = exc.message
    elif isinstance(exc, KeyboardInterrupt):
        reason = "interrupted"
    else:
        reason = f"{type(exc).__name__}: {exc}"
    with workspace.database.begin() as connection:
        connection.execute(
            sa.update(tables.revisions)
            .where(tables.revisions.c.id == revision)
            .where(tables.revisions.c.status == "STARTING")
            .values(status="FAILED", reason=reason[:2000], updated=time.time())
        )
    plan.project(workspace)
