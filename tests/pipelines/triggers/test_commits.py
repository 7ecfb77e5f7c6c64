"""A commit that touches the project fires; others do not."""

from __future__ import annotations

import subprocess

import pytest

from mlops_magics.errors import InvalidArgument


@pytest.fixture
def git(workspace):
    """Run git in the project's folder."""

    def run(*arguments):
        identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
        command = ["git", *identity, "-c", "commit.gpgsign=false", *arguments]
        done = subprocess.run(command, cwd=workspace.root, check=True, capture_output=True)
        return done.stdout.decode().strip()

    run("init", "-b", "main")
    return run


@pytest.fixture
def commit(workspace, git):
    def make(*names, text="x"):
        for name in names:
            path = workspace.root / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
            git("add", "--", name)
        git("commit", "-m", "change")
        return git("rev-parse", "HEAD")

    return make


def test_a_commit_fires_once_and_says_what_it_changed(add, git, commit, fires):
    commit("a.py")
    add(commit=True)
    assert fires() == []
    found = commit("a.py", "b.py", "c.py", text="y")
    assert fires() == [f"new commit {found[:10]} changed a.py, b.py and 1 more files"]
    # several commits at once are one change
    commit("a.py", text="z")
    found = commit("b.py", text="z")
    assert fires() == [f"new commit {found[:10]} changed a.py, b.py"]
    assert fires() == []


def test_only_commits_that_touch_the_paths_count(add, commit, fires):
    commit("docs/a.md", "notebooks/train.ipynb")
    add(commit=True, paths=["notebooks", "src"])
    commit("docs/a.md", text="y")
    assert fires() == []
    found = commit("notebooks/train.ipynb", text="y")
    assert fires() == [f"new commit {found[:10]} changed notebooks/train.ipynb"]


def test_another_branch_is_watched_by_its_name(add, git, commit, fires):
    commit("a.py")
    git("branch", "release")
    add(commit="release")
    commit("a.py", text="y")
    assert fires() == []
    git("branch", "-f", "release", "HEAD")
    assert len(fires()) == 1


def test_a_history_that_was_rewritten_is_a_change(add, git, commit, fires):
    commit("a.py")
    commit("a.py", text="y")
    add(commit=True)
    git("commit", "--amend", "-m", "other words")
    assert fires() == []  # nothing of the project has changed
    git("checkout", "--orphan", "anew")
    found = commit("b.py")
    git("reflog", "expire", "--expire=now", "--all")
    git("branch", "-D", "main")
    git("gc", "--prune=now", "-q")
    assert fires() == [f"new commit {found[:10]}"]


def test_what_is_no_branch_is_refused(add, git, commit):
    with pytest.raises(InvalidArgument, match="git has no commit 'HEAD'"):
        add(commit=True)  # before the first commit
    commit("a.py")
    for name in ("nope", "--all", "main..HEAD"):
        with pytest.raises(InvalidArgument, match="git has no commit"):
            add(commit=name)
