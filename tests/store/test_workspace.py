"""The workspace is found, made, locked, and for its owner only."""

import os
import stat
import subprocess
import sys

import psutil
import pytest

from mlops_magics.errors import InvalidArgument, InvalidSetting, LockTimeout, WorkspaceNotFound
from mlops_magics.settings import Settings
from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import Workspace, write_atomic


def test_it_is_found_upward_from_a_folder_inside_the_project(tmp_path):
    made = Workspace.create(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert Workspace.find(tmp_path / "a" / "b").path == made.path


def test_where_there_is_none_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(WorkspaceNotFound, match="mlops init"):
        Workspace.find(tmp_path)


def test_the_environment_names_another(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_WORKSPACE", str(tmp_path / "elsewhere"))
    with pytest.raises(WorkspaceNotFound, match="which is no workspace"):
        Workspace.find()
    made = Workspace.create()
    assert made.path == tmp_path / "elsewhere"
    assert Workspace.find().path == made.path


def test_files_and_folders_are_for_the_owner_only_whatever_the_umask(tmp_path):
    former = os.umask(0)
    try:
        workspace = Workspace.create(tmp_path)
        assert workspace.token
        workspace.directory("server", "sockets")
        with workspace.database.read(), workspace.lock("x"):
            pass
    finally:
        os.umask(former)
    for path in [workspace.path, *workspace.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_token_stays_the_same(tmp_path):
    assert Workspace.create(tmp_path).token == Workspace.find(tmp_path).token


def test_a_lock_held_by_another_process_times_out_and_frees_when_it_dies(tmp_path):
    workspace = Workspace.create(tmp_path)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from mlops_magics.store.workspace import Workspace\n"
        "with Workspace.find(Path(sys.argv[1])).lock('x'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(LockTimeout, match="'x'"), workspace.lock("x", timeout=0.1):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with workspace.lock("x", timeout=5):
        pass


def test_an_interrupted_write_leaves_the_old_content(tmp_path, monkeypatch):
    write_atomic(tmp_path / "a", b"old")

    def fail(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match="nowhere"):
        Workspace.create(tmp_path / "nowhere")


def test_settings_argument_beats_environment_beats_project_file(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.mlops]\nport = 1\nworkers = 2\nowner = 'a'\n")
    merged = Settings.load(tmp_path, environ={"MLOPS_PORT": "7", "MLOPS_OWNER": "b"}, owner="c")
    assert (merged.port, merged.workers, merged.owner) == (7, 2, "c")


def test_a_setting_of_the_wrong_type_or_name_is_refused(tmp_path):
    with pytest.raises(InvalidSetting, match="MLOPS_PORT = 'x'"):
        Settings.load(environ={"MLOPS_PORT": "x"})
    (tmp_path / "pyproject.toml").write_text("[tool.mlops]\nprot = 1\n")
    with pytest.raises(InvalidArgument, match="did you mean 'port'"):
        Settings.load(tmp_path, environ={})


def test_an_identity_is_not_its_pid():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = Identity.of(child.pid)
    assert identity.alive()
    reused = Identity(child.pid, identity.started - 100, identity.boot)
    assert not reused.alive()
    assert not reused.signal(9)
    assert not Identity(child.pid, identity.started, "another boot").alive()
    child.communicate(b"\n")
    assert not identity.alive()


def test_an_identity_holds_when_the_wall_clock_is_set(monkeypatch):
    identity = Identity.of()
    started, boot = psutil.Process().create_time(), psutil.boot_time()
    # the kernel tells both moments by the wall clock of now
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: started + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    assert identity.alive()
