"""Shared parts of the training room's tests."""

import subprocess

import pytest


@pytest.fixture
def repository(project):
    """The project as a git repository with one commit."""

    def git(*arguments):
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        answer = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    git("init", "-q", "-b", "main")
    (project / "train.py").write_text("depth = 3\n")
    git("add", "train.py")
    git("commit", "-q", "-m", "first")
    return git
