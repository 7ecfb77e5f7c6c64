"""An alert is posted where a person said, and a stranger's host reaches nothing private."""

from __future__ import annotations

import time

import pytest

from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring.alerts import webhook
from mlops_magics.monitoring.alerts.webhook import Refused, checked, post, shown

BODY = {"text": "drift"}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # a cloud's metadata
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "64:ff9b::a9fe:a9fe",  # NAT64 of 169.254.169.254
    ],
)
def test_an_address_that_is_not_public_is_refused_also_beside_a_public_one(address):
    for addresses in ([address], ["93.184.215.14", address]):
        with pytest.raises(Refused, match="not public"):
            post("https://evil.example/", BODY, key="k", resolve=lambda *_, a=addresses: a)


def test_a_name_that_is_loopback_is_refused_by_the_systems_resolver(receiver):
    for url in (f"https://localhost:{receiver.port}/", f"https://127.0.0.1:{receiver.port}/"):
        with pytest.raises(Refused, match=r"127\.0\.0\.1, which is not public|::1, which is"):
            post(url, BODY, key="k")
    assert receiver.posted == []


def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_name_means_later(
    receiver,
):
    asked = []

    def resolve(host, port):
        asked.append(host)
        # public at first, the machine's own from then on
        return ["127.0.0.1"] if len(asked) == 1 else ["93.184.215.14"]

    allowed = f"hooks.test:{receiver.port}"
    url = f"http://hooks.test:{receiver.port}/a?b=c"
    assert post(url, BODY, key="k1", allowed=allowed, resolve=resolve).accepted
    assert asked == ["hooks.test"]
    [(path, headers, body)] = receiver.posted
    assert (path, body) == ("/a?b=c", BODY)
    assert headers["Host"] == allowed
    assert headers["Idempotency-Key"] == "k1"
    assert headers["Content-Type"] == "application/json"


def test_a_public_host_is_spoken_to_with_tls_only_and_its_certificate_is_checked(receiver):
    with pytest.raises(Refused, match="without TLS"):
        post("http://hooks.example/", BODY, key="k", resolve=lambda *_: ["93.184.215.14"])
    with pytest.raises(OSError, match="SSL"):
        post(f"https://127.0.0.1:{receiver.port}/", BODY, key="k", allowed="127.0.0.1")


def test_a_host_is_allowed_by_its_whole_name(receiver):
    for allowed in ("127.0.0", "27.0.0.1", f"127.0.0.1:{receiver.port + 1}", "localhost"):
        with pytest.raises(Refused):
            post(receiver.url, BODY, key="k", allowed=allowed)
    assert post(receiver.url, BODY, key="k", allowed="hooks.lan, 127.0.0.1").accepted


def test_a_redirect_is_not_followed(receiver):
    receiver.answers = [302]
    answer = post(receiver.url, BODY, key="k", allowed="127.0.0.1")
    assert (answer.accepted, answer.final) == (False, True)
    assert str(answer) == "answered 302: redirects are not followed"
    assert [path for path, _, _ in receiver.posted] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (404, True), (429, False), (503, False)]
)
def test_an_answer_says_whether_a_later_try_may_help(receiver, status, final):
    receiver.answers = [status]
    assert post(receiver.url, BODY, key="k", allowed="127.0.0.1").final is final


def test_a_receiver_that_drips_its_answer_is_not_waited_for(receiver, monkeypatch):
    monkeypatch.setattr(webhook, "ALL_SECONDS", 0.3)
    receiver.drips = 0.2
    begun = time.monotonic()
    with pytest.raises(OSError, match=r".+"):
        post(receiver.url, BODY, key="k", allowed="127.0.0.1")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "url",
    ["", "hooks.example", "ftp://hooks.example/", "https://", "https://a b/", "https://h:x/", 7],
)
def test_what_is_no_url_is_refused_when_it_is_given(url):
    with pytest.raises(InvalidArgument, match="no URL"):
        checked(url)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(InvalidArgument) as caught:
        checked("https://ann:hunter22@hooks.example/x")
    assert "hunter22" not in str(caught.value)


def test_a_secret_url_is_looked_up_when_it_is_used_and_never_shown(receiver, monkeypatch):
    monkeypatch.setenv("CHAT_URL", receiver.url)
    assert checked("secret:CHAT_URL") == "secret:CHAT_URL"
    assert post("secret:CHAT_URL", BODY, key="k", allowed="127.0.0.1").accepted
    assert shown("https://chat.example/services/T00/key?token=x") == "https://chat.example/…"
