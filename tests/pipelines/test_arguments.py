"""What a caller gives adds up as papermill has it, and is checked before anything runs."""

import json

import fsspec
import pytest

from mlops_magics.errors import InvalidArgument, ParameterInvalid, SecretNotFound
from mlops_magics.pipelines.arguments import gather, read_file, read_yaml, settle
from mlops_magics.pipelines.parameters import declared
from mlops_magics.pipelines.specification import read


@pytest.fixture
def known(notebook):
    cell = (
        "data: str\nmonth: int = 3\nrows: int | None = None\nalias = 'x'\n"
        "names: list[str] = []\nshare: float = 0.5"
    )
    return declared(notebook("train", parameters=cell))


def test_text_from_a_shell_is_read_by_the_declared_type(known):
    texts = ["month=7", "alias=007", "rows=None", 'names=["x","y"]', "data=a=b", "share=2"]
    assert gather(texts, known) == {
        "month": 7,
        "alias": "007",
        "rows": None,
        "names": ["x", "y"],
        "data": "a=b",
        "share": 2,
    }


def test_of_the_same_name_the_last_one_counts(known):
    given = [{"month": 1, "rows": 5}, "month=2", ("month", "3"), {"alias": "7"}, ("alias", "008")]
    assert gather(given, known) == {"month": 3, "rows": 5, "alias": "008"}
    assert gather({"month": 1}, known) == {"month": 1}
    assert gather(None, known) == {}


def test_a_pair_is_never_taken_apart(known):
    assert gather([("x=1; import os", "3")], known) == {"x=1; import os": 3}
    with pytest.raises(ParameterInvalid, match="'month' has no value"):
        gather(["month"], known)


def test_yaml_and_json_are_read_with_the_line_of_what_is_wrong(tmp_path):
    assert read_yaml("month: 3\nsince: 2013-01-01") == {"month": 3, "since": "2013-01-01"}
    assert read_yaml("") == {}
    for text, message in [
        ("a: 1\nb: [1", "the YAML, line 2"),
        ("a: 1\na: 2", "line 2: 'a' is there twice"),
        ("a: !!python/name:os.system ''", "line 1"),
        ("[1]", "has no parameters, but a list"),
    ]:
        with pytest.raises(ParameterInvalid, match=message):
            read_yaml(text)
    path = tmp_path / "given.json"
    path.write_text(json.dumps({"month": 3, "names": ["é"]}))
    assert read_file(str(path)) == {"month": 3, "names": ["é"]}
    with fsspec.open("memory://given/params.yaml", "w") as file:
        file.write("rows: null")
    assert read_file("memory://given/params.yaml") == {"rows": None}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match=r"missing\.yaml"):
        read_file(str(tmp_path / "missing.yaml"))
    with pytest.raises(InvalidArgument, match=r"memory://none\.yaml"):
        read_file("memory://none.yaml")
    (tmp_path / "raw.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument, match=r"raw\.yaml cannot be read"):
        read_file(str(tmp_path / "raw.yaml"))


def test_a_secret_that_is_missing_is_named_wherever_it_is_referred_to(
    notebook, pipeline, monkeypatch
):
    notebook("a", parameters="login: dict = {}\ntoken: str = ''")
    path = pipeline("""
name: p
parameters: {token: secret:HABIT_TOKEN, stage: TEST}
steps:
  a:
    notebook: a.ipynb
    parameters:
      token: ${parameters.token}
      login: {key: ["secret:HABIT_${parameters.stage}"]}
""")
    monkeypatch.setenv("HABIT_TOKEN", "correct horse")
    with pytest.raises(SecretNotFound, match="no secret 'HABIT_TEST'"):
        settle(read(path), None)
    monkeypatch.setenv("HABIT_TEST", "battery staple")
    assert settle(read(path), None) == {"token": "secret:HABIT_TOKEN", "stage": "TEST"}
    with pytest.raises(SecretNotFound, match="no secret 'HABIT_OTHER'"):
        settle(read(path), {"token": "secret:HABIT_OTHER"})
