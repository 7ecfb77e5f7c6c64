"""The command ``mlops``: all verbs in the order of the lifecycle."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from mlops_magics import __version__
from mlops_magics.cli import (
    alerts,
    continuous,
    data,
    deployment,
    logs,
    monitoring,
    packaging,
    pipelines,
    registry,
    serving,
    testing,
    training,
    triggers,
    workspace,
)
from mlops_magics.cli.caller import Caller, failure
from mlops_magics.cli.usage import translate
from mlops_magics.cli.verb import Verb, Verbs
from mlops_magics.errors import MlopsError

__all__ = ["STAGES", "Lifecycle", "main", "mlops"]

STAGES: dict[str, list[click.Command]] = {
    "Workspace": [
        workspace.init,
        workspace.status,
        workspace.doctor,
        workspace.start,
        workspace.stop,
    ],
    "Data": [data.ingest, data.data],
    "Training": [training.run, training.log, training.runs],
    "Testing": [testing.test],
    "Packaging": [packaging.package],
    "Registry": [registry.register, registry.registry, registry.promote, registry.rollback],
    "Deployment": [
        deployment.replay,
        deployment.deploy,
        deployment.traffic,
        deployment.endpoints,
        deployment.undeploy,
        logs.logs,
    ],
    "Serving": [serving.predict, serving.predictions, serving.score, serving.stream],
    "Monitoring": [
        monitoring.drift,
        monitoring.feedback,
        monitoring.monitor,
        monitoring.quality,
        monitoring.report,
        alerts.alerts,
    ],
    "Pipelines": [pipelines.pipeline, triggers.trigger, continuous.ci],
}
"""Every verb, under the stage of the lifecycle that it belongs to."""


class Lifecycle(Verbs):
    """The group of all verbs; its help is grouped by stage."""

    def __init__(self) -> None:
        commands = {
            command.name: command
            for stage in STAGES.values()
            for command in stage
            if command.name is not None
        }
        super().__init__(
            "mlops",
            commands=commands,
            help="The whole road of a model, from data to a monitored endpoint.\n\n"
            "In Python each verb is a function of mlops_magics, called as the verb or as its line "
            "says.",
            epilog="Each verb is also a magic: %mlops_VERB. Help on one: mlops VERB --help\n\n"
            'Completion, in bash: eval "$(_MLOPS_COMPLETE=bash_source mlops)"',
        )
        click.version_option(__version__, package_name="mlops-magics")(self)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs, a section for each stage."""
        width = max(map(len, self.commands))
        for stage, commands in STAGES.items():
            with formatter.section(stage):
                rows = [(str(command.name).ljust(width), _line(command)) for command in commands]
                formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the lifecycle."""
        return list(self.commands)


def _line(command: click.Command) -> str:
    """Return a verb's line: what it does, and its functions where they bear other names."""
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    calls = [name for leaf in leaves if isinstance(leaf, Verb) for name in leaf.calls]
    other = "" if calls == [command.name] else f"  [Python: {', '.join(calls)}]"
    return command.get_short_help_str(100) + other


mlops = Lifecycle()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mlops`` in a shell: results to standard output, messages to standard error.

    The exit status is 0 when done, 1 when a gate, a check or the work failed, 2 for wrong usage.
    With ``--json`` an error is an object on standard output too.
    """
    caller = Caller()
    # an option that does not exist is an error before the others are read
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = mlops.main(
            None if arguments is None else list(arguments),
            prog_name="mlops",
            standalone_mode=False,
            obj=caller,
        )
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message())
        sys.exit(0)
    except click.ClickException as exc:
        _fail(translate(exc), as_json=caller.as_json or "--json" in given)
    except click.Abort as exc:
        told = str(exc.__cause__ or "")  # a verb may know how to go on
        click.echo(
            f"interrupted; {told or 'what was finished is kept, see: mlops status'}", err=True
        )
        sys.exit(1)
    except MlopsError as exc:
        _fail(exc, as_json=caller.as_json)
    # click gives the exit status of --help and --version, and a verb's record otherwise
    sys.exit(status if isinstance(status, int) else caller.exit_status)


def _fail(error: MlopsError, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(failure(error), indent=2, ensure_ascii=False))
    first, *rest = str(error).splitlines() or [""]
    click.secho(f"{type(error).__name__}: ", err=True, nl=False, fg="red", bold=True)
    click.echo("\n".join([first, *rest]), err=True)
    sys.exit(error.exit_status)
