"""The command ``mlops``: all verbs in the order of the lifecycle."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from mlops_magics import __version__
from mlops_magics.cli import (
    data,
    deployment,
    monitoring,
    packaging,
    pipelines,
    registry,
    serving,
    testing,
    training,
    workspace,
)
from mlops_magics.cli.caller import Caller
from mlops_magics.cli.usage import translate
from mlops_magics.cli.verb import Verbs
from mlops_magics.errors import MlopsError

__all__ = ["STAGES", "Lifecycle", "main", "mlops"]

STAGES: dict[str, list[click.Command]] = {
    "Workspace": [workspace.init, workspace.status, workspace.doctor, workspace.stop],
    "Data": [data.ingest, data.data],
    "Training": [training.run, training.log, training.runs],
    "Testing": [testing.test],
    "Packaging": [packaging.package],
    "Registry": [registry.register, registry.registry, registry.promote, registry.rollback],
    "Deployment": [deployment.deploy, deployment.endpoints, deployment.undeploy],
    "Serving": [serving.predict, serving.predictions],
    "Monitoring": [monitoring.feedback, monitoring.monitor],
    "Pipelines": [pipelines.pipeline],
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
            help="The whole road of a model, from data to a monitored endpoint.",
            epilog="Each verb is also a magic: %mlops_VERB. Help on one: mlops VERB --help\n\n"
            'Completion, in bash: eval "$(_MLOPS_COMPLETE=bash_source mlops)"',
        )
        click.version_option(__version__, package_name="mlops-magics")(self)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs, a section for each stage."""
        width = max(map(len, self.commands))
        for stage, commands in STAGES.items():
            with formatter.section(stage):
                rows = [
                    (str(command.name).ljust(width), command.get_short_help_str(100))
                    for command in commands
                ]
                formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the lifecycle."""
        return list(self.commands)


mlops = Lifecycle()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mlops`` in a shell: results to standard output, messages to standard error.

    The exit status is 0 when done, 1 when a gate or the work failed, 2 for wrong usage.
    """
    try:
        status = mlops.main(
            None if arguments is None else list(arguments),
            prog_name="mlops",
            standalone_mode=False,
            obj=Caller(),
        )
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message())
        sys.exit(0)
    except click.ClickException as exc:
        _fail(translate(exc))
    except click.Abort:
        click.echo("interrupted; what was finished is kept, see: mlops status", err=True)
        sys.exit(1)
    except MlopsError as exc:
        _fail(exc)
    # click gives the exit status of --help and --version, and a verb's record otherwise
    sys.exit(status if isinstance(status, int) else 0)


def _fail(error: MlopsError) -> None:
    first, *rest = str(error).splitlines() or [""]
    click.secho(f"{type(error).__name__}: ", err=True, nl=False, fg="red", bold=True)
    click.echo("\n".join([first, *rest]), err=True)
    sys.exit(error.exit_status)
