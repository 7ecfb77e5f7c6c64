"""A secret is found in whatever form it is written, and nothing else is touched."""

import base64
import html
import json
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops_magics.store.redaction import SHORTEST, Redactor

ODD = "p&ss 'w\"ord\\é<1>+/="
FORMS = [
    str,
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    repr,
    lambda text: repr(text.encode()),
    html.escape,
    urllib.parse.quote,
    lambda text: urllib.parse.quote(text, safe=""),
    urllib.parse.quote_plus,
    lambda text: text.encode().hex(),
]


def redactor(**secrets):
    found = Redactor()
    for name, value in secrets.items():
        found.add(name, value)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_as_it_is_written(form):
    shown = redactor(TOKEN=ODD).text(f"before {form(ODD)} after")
    assert "[secret:TOKEN]" in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert form(ODD).strip("'\"b") not in shown


@given(
    st.binary(max_size=7),
    st.binary(max_size=7),
    st.text(st.characters(codec="utf-8"), min_size=9, max_size=40),
)
@example(b"", b"", ODD)
def test_a_secret_is_found_inside_a_longer_text_that_was_encoded(before, after, secret):
    raw = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + raw + after).decode()
        shown = redactor(TOKEN=secret).text(whole)
        assert "[secret:TOKEN]" in shown
        # what is left are the characters that it shares with its neighbours
        assert len(shown.replace("[secret:TOKEN]", "")) <= (len(before) + len(after)) * 4 / 3 + 8


def test_json_values_are_searched_to_their_ends_and_keep_their_types():
    found = redactor(PIN="48151623", TOKEN=ODD)
    value = {"a": [1, 2.5, None, True, 48151623], ODD: {"b": f"x{ODD}"}}
    assert found.value(value) == {
        "a": [1, 2.5, None, True, "[secret:PIN]"],
        "[secret:TOKEN]": {"b": "x[secret:TOKEN]"},
    }
    same = {"a": 1}
    assert Redactor().value(same) is same


def test_each_line_of_a_key_is_a_secret_but_not_its_frame():
    key = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\nabcdefghijkl\n-----END KEY-----\n"
    found = redactor(KEY=key)
    assert found.text(key) == "[secret:KEY]"
    assert found.text("MIIEowIBAAKCAQEA and -----BEGIN KEY-----") == (
        "[secret:KEY] and -----BEGIN KEY-----"
    )


def test_what_is_too_short_stands_in_too_much_to_be_replaced():
    assert SHORTEST == 4
    assert not redactor(X="abc")
    assert redactor(X="abcd").text("abcd") == "[secret:X]"


def test_of_two_secrets_the_longer_one_is_meant():
    found = redactor(SHORT="hunter2", LONG="hunter22")
    assert found.text("hunter22 hunter2") == "[secret:LONG] [secret:SHORT]"


@given(st.data())
def test_a_stream_in_pieces_shows_what_the_whole_would(data):
    found = redactor(A="hunter2", B="hunter22x", C="xhun")
    text = (
        data.draw(st.text(alphabet="hunter2x ", max_size=40))
        + "hunter2"
        + data.draw(st.text(alphabet="hunter2x ", max_size=20))
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown, waiting = "", ""
    for piece in pieces:
        part, waiting = found.split(waiting + piece)
        shown += part
    shown += found.text(waiting)
    for secret in ("hunter2", "hunter22x"):
        assert secret not in shown


def test_what_cannot_become_a_secret_does_not_wait():
    found = redactor(TOKEN="hunter22")
    assert found.split("all of it\n") == ("all of it\n", "")
    assert found.split("hunter22") == ("[secret:TOKEN]", "")
    assert found.split("it is h") == ("it is ", "h")
