"""Workflows of GitHub Actions and GitLab that test a pipeline, as data: a serialiser writes them.

Every value that comes from a project is checked by :func:`word` before it gets into a command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines.requirements import Installation

__all__ = ["HOSTS", "Integration", "github", "gitlab", "word"]

REGISTRY = "CHAMPION_REGISTRY"
"""Variable of CI with the URI of the MLflow that has the champion; there may be none."""

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+-]*")


@dataclass(frozen=True)
class Integration:
    """What CI is to do.

    Attributes
    ----------
    pipeline : str
        The pipeline's name.
    path : str
        Its specification, relative to the repository.
    notebooks : tuple of str
        Those that can run by themselves, in the order of their steps.
    champion : str or None
        The model to compare with.
    installation : Installation
    """

    pipeline: str
    path: str
    notebooks: tuple[str, ...]
    champion: str | None
    installation: Installation

    @property
    def tests(self) -> str:
        """The command of the notebook tests; empty without notebooks."""
        if not self.notebooks:
            return ""
        return f"python -m pytest -p no:cacheprovider --nbval-lax {' '.join(self.notebooks)}"

    @property
    def run(self) -> str:
        """The command of the short run."""
        return f"mlops pipeline run {self.path} --smoke"

    @property
    def comparison(self) -> str:
        """The command that tells the metrics, as Markdown on standard output."""
        champion = f" --champion {self.champion}" if self.champion else ""
        return f'mlops pipeline compare{champion} --registry "${REGISTRY}" --markdown'


def word(text: str, what: str) -> str:
    """Return a text that means itself, and only itself, in a shell and in a workflow.

    Raises
    ------
    InvalidArgument
        It has a sign that a shell, YAML or the host could read otherwise.

    Examples
    --------
    >>> word("notebooks/train.ipynb", "notebook")
    'notebooks/train.ipynb'
    >>> word("a; rm -rf ~", "notebook")
    Traceback (most recent call last):
    mlops_magics.errors.InvalidArgument: notebook 'a; rm -rf ~' cannot be written into a workflow
      → letters, digits and . _ / @ + - only
    """
    if not _WORD.fullmatch(text) or ".." in text.split("/"):
        raise InvalidArgument(
            f"{what} {text!r} cannot be written into a workflow",
            hint="letters, digits and . _ / @ + - only",
        )
    return text


def github(plan: Integration) -> dict[str, Any]:
    """Return a workflow for GitHub Actions."""
    always = "${{ !cancelled() }}"
    steps: list[dict[str, Any]] = [
        {"uses": "actions/checkout@v4"},
        {
            "uses": "actions/setup-python@v5",
            "with": {"python-version": plan.installation.python},
        },
        {"name": "Install", "run": "\n".join(plan.installation.commands)},
        {"name": "Workspace", "run": "mlops init"},
    ]
    if plan.tests:
        steps.append({"name": "Notebooks", "run": plan.tests})
    steps += [
        {"name": "Pipeline on a part of the data", "run": plan.run},
        {
            "name": "Metrics against the champion",
            "if": always,
            "env": {
                REGISTRY: f"${{{{ secrets.{REGISTRY} }}}}",
                "MLFLOW_TRACKING_TOKEN": "${{ secrets.MLFLOW_TRACKING_TOKEN }}",
            },
            "run": f'{plan.comparison} >> "$GITHUB_STEP_SUMMARY"',
        },
        {"name": "Report", "if": always, "run": "mlops pipeline report --output report.html"},
        {
            "uses": "actions/upload-artifact@v4",
            "if": always,
            "with": {
                "name": f"mlops-{plan.pipeline}",
                "path": "report.html",
                "if-no-files-found": "ignore",
            },
        },
    ]
    return {
        "name": f"mlops {plan.pipeline}",
        "on": {
            "push": {"branches": ["main", "master"]},
            "pull_request": {},
            "workflow_dispatch": {},
        },
        "permissions": {"contents": "read"},
        "concurrency": {
            "group": "${{ github.workflow }}-${{ github.ref }}",
            "cancel-in-progress": True,
        },
        "jobs": {"pipeline": {"runs-on": "ubuntu-latest", "timeout-minutes": 60, "steps": steps}},
    }


def gitlab(plan: Integration) -> dict[str, Any]:
    """Return a configuration for GitLab CI."""
    return {
        f"mlops-{plan.pipeline}": {
            "image": f"python:{plan.installation.python}",
            "timeout": "1h",
            "variables": {"PIP_CACHE_DIR": "$CI_PROJECT_DIR/.cache/pip"},
            "cache": {"paths": [".cache/pip"]},
            "rules": [
                {"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'},
                {"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"},
            ],
            "before_script": [*plan.installation.commands, "mlops init"],
            "script": [*([plan.tests] if plan.tests else []), plan.run],
            # also after a failure
            "after_script": [
                f"{plan.comparison} --metrics metrics.txt > comparison.md",
                "cat comparison.md",
                "mlops pipeline report --output report.html",
            ],
            "artifacts": {
                "when": "always",
                "paths": ["comparison.md", "report.html"],
                "reports": {"metrics": "metrics.txt"},
            },
        }
    }


HOSTS = {
    "github": (github, ".github/workflows/mlops.yml"),
    "gitlab": (gitlab, ".gitlab-ci.yml"),
}
"""By host what makes its workflow, and the file where the host looks for it."""
