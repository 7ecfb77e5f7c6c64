"""A secret is looked up where it is used, and shown by its name."""

import os
import pickle
import subprocess
import sys

import pytest

import mlops_magics as mlops
from mlops_magics.errors import InvalidArgument, SecretNotFound
from mlops_magics.store import secrets

KEYRING = """
from keyring.backend import KeyringBackend

class Fixed(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return {("mlops", "FROM_KEYRING"): "battery staple"}.get((service, username))
    def set_password(self, *_): ...
    def delete_password(self, *_): ...
"""


def python(code, *, folder, **environment):
    path = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_secret_is_the_text_but_shown_and_kept_by_its_name(monkeypatch):
    monkeypatch.setenv("HABIT_PASSWORD", "correct horse")
    found = mlops.secret("HABIT_PASSWORD")
    assert found == "correct horse"
    assert f"{found}|{found!s}" == "correct horse|correct horse"
    assert repr([found]) == "[[secret:HABIT_PASSWORD]]"
    kept = pickle.dumps(found)
    assert b"correct horse" not in kept
    monkeypatch.setenv("HABIT_PASSWORD", "another horse")
    assert pickle.loads(kept) == "another horse"
    assert secrets.redactor.text("a correct horse") == "a [secret:HABIT_PASSWORD]"


@pytest.mark.parametrize("name", ["", "my key", "A=B", "\n", 7])
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(InvalidArgument, match="cannot be a secret's name"):
        mlops.secret(name)


def test_what_is_not_in_the_environment_is_looked_up_in_the_keyring(tmp_path):
    (tmp_path / "fixed.py").write_text(KEYRING)
    code = "import mlops_magics as m; print(str(m.secret('FROM_KEYRING'))); m.secret('NOWHERE')"
    done = python(code, folder=tmp_path, PYTHON_KEYRING_BACKEND="fixed.Fixed")
    assert done.stdout == "battery staple\n"
    assert "there is no secret 'NOWHERE'" in done.stderr
    assert "keyring set mlops NOWHERE" in done.stderr
    done = python(code, folder=tmp_path, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    assert "the keyring cannot be read" in done.stderr


def test_without_keyring_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SecretNotFound, match="NOWHERE is not set") as raised:
        mlops.secret("NOWHERE")
    assert 'pip install "mlops-magics[keyring]"' in raised.value.hint
