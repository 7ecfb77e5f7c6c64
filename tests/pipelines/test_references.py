"""References take values with their types, and only from where they can come."""

import pytest

from mlops_magics.errors import ParameterInvalid, SpecInvalid
from mlops_magics.pipelines.references import filled, references


def test_a_whole_reference_keeps_the_type_and_an_inner_one_is_written():
    value = {"a": "${parameters.n}", "b": ["to ${parameters.n}"], "c": "${steps.s.outputs.x}"}
    assert filled(value, {"n": 3}, {"s": {"x": [1]}}) == {"a": 3, "b": ["to 3"], "c": [1]}


def test_a_doubled_dollar_is_plain_text():
    assert filled("$${parameters.n}", {"n": 3}, {}) == "${parameters.n}"
    assert list(references("$${parameters.n}")) == []


@pytest.mark.parametrize("text", ["${n}", "${steps.a.n}", "${parameters.n.m}", "${}"])
def test_another_form_is_refused(text):
    with pytest.raises(SpecInvalid, match="is no reference"):
        list(references(text))


def test_an_output_that_was_not_given_is_named_with_the_nearest():
    with pytest.raises(ParameterInvalid, match=r"no output 'trian'\s+→ did you mean 'train'\?"):
        filled("${steps.a.outputs.trian}", {}, {"a": {"train": 1}})


def test_a_secret_is_not_written_into_a_longer_text():
    values = {"password": "secret:DB_PASSWORD"}
    assert filled("${parameters.password}", values, {}) == "secret:DB_PASSWORD"
    with pytest.raises(ParameterInvalid, match="would write into a text"):
        filled("postgresql://ann:${parameters.password}@host", values, {})


@pytest.mark.parametrize("text", ["${steps.s.outputs.x}", "secret:${steps.s.outputs.name}"])
def test_what_a_step_has_read_somewhere_cannot_choose_a_secret(text):
    outputs = {"s": {"x": {"deep": ["secret:AWS_SECRET_ACCESS_KEY"]}, "name": "TOKEN"}}
    with pytest.raises(ParameterInvalid, match="secret"):
        filled(text, {}, outputs)
    assert filled("secret:${parameters.stage}_TOKEN", {"stage": "TEST"}, {}) == "secret:TEST_TOKEN"
