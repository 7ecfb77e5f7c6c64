"""A kernel's messages pass without the secrets, whole or in pieces, in their order."""

import os
import subprocess
import sys

import pytest

from mlops_magics.pipelines.screen import Screen
from mlops_magics.store.redaction import Redactor
from mlops_magics.store.secrets import MEDIA_TYPE


@pytest.fixture
def screen():
    redactor = Redactor()
    redactor.add("TOKEN", "hunter22")
    return Screen(redactor)


def stream(text, name="stdout"):
    return {"msg_type": "stream", "header": {}, "content": {"name": name, "text": text}}


def display(**data):
    return {"msg_type": "display_data", "header": {}, "content": {"data": data, "metadata": {}}}


IDLE = {"msg_type": "status", "header": {}, "content": {"execution_state": "idle"}}


def pass_through(screen, *messages):
    return [each["content"] for message in messages for each in screen.messages(message)]


def test_a_stream_in_pieces_has_no_secret_and_nothing_is_lost(screen):
    contents = pass_through(
        screen, stream("it is hun"), stream("ter"), stream("22!"), stream("h"), IDLE
    )
    assert [each.get("text") for each in contents] == ["it is ", "[secret:TOKEN]!", "h", None]


def test_what_waits_is_shown_before_what_comes_after_it(screen):
    contents = pass_through(
        screen, stream("hunt"), stream("ing", "stderr"), display(text="hunter22"), IDLE
    )
    assert [each.get("text") or each.get("data") for each in contents] == [
        "hunt",
        "ing",
        {"text": "[secret:TOKEN]"},
        None,
    ]


def test_an_error_a_display_and_a_widget_are_redacted_whole(screen):
    error = {"ename": "E", "evalue": "no hunter22", "traceback": ["\x1b[31mhunter22\x1b[0m"]}
    comm = {"comm_id": "1", "data": {"state": {"value": "hunter22"}}}
    for kind, content in [("error", error), ("comm_open", comm)]:
        (shown,) = screen.messages({"msg_type": kind, "header": {}, "content": content})
        assert "hunter22" not in str(shown)
        assert "[secret:TOKEN]" in str(shown)


def test_a_secret_that_the_kernel_tells_of_is_learnt_and_goes_no_further():
    screen = Screen(Redactor())
    told = display(**{MEDIA_TYPE: {"name": "LATE", "value": "battery staple"}})
    assert pass_through(screen, stream("battery staple"), told, stream("battery staple")) == [
        {"name": "stdout", "text": "battery staple"},
        {"name": "stdout", "text": "[secret:LATE]"},
    ]


def test_what_a_process_and_its_children_write_is_redacted():
    code = (
        "import os, subprocess, sys\n"
        "from mlops_magics.pipelines.screen import screened\n"
        "from mlops_magics.store.redaction import Redactor\n"
        "redactor = Redactor()\n"
        "with screened(redactor):\n"
        "    print('before hunter22', flush=True)\n"
        "    import time; time.sleep(0.2)\n"
        "    redactor.add('TOKEN', 'hunter22')\n"
        "    os.write(2, b'is hunt'); os.write(1, b'er22\\n')\n"
        "    subprocess.run(['sh', '-c', 'echo child hunter22 hunt'])\n"
        "print('after', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ("before hunter22\nis [secret:TOKEN]\nchild [secret:TOKEN] hunt\nafter\n")
