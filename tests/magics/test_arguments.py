import pandas as pd
import pytest

from mlops_magics.cli.parameters import Bound
from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.magics.arguments import split, strip_semicolon


def parse(line: str, **names):
    return split(line, names, lambda source: eval(source, {}, names))


def test_arguments_are_split_as_a_shell_does_and_quotes_are_not_kept():
    assert parse("""model --reason "two words" --tag 'a b'=c\\ d""") == [
        "model", "--reason", "two words", "--tag", "a b=c d",
    ]  # fmt: skip


def test_an_open_quote_is_an_error():
    with pytest.raises(InvalidArgument, match="quote"):
        parse("model --reason 'two")


def test_a_plain_value_is_interpolated_as_text():
    assert parse("--min auc={floor} --name v{1 + 1}", floor=0.7) == [
        "--min", "auc=0.7", "--name", "v2",
    ]  # fmt: skip


def test_a_whole_expression_gives_the_object_itself():
    df = pd.DataFrame({"month": [3, 4]})
    first, second = parse("{df} {df[df['month'] == 3]}", df=df)
    assert isinstance(first, Bound)
    assert first.value is df
    assert len(second.value) == 1


def test_an_option_with_equals_takes_an_object():
    flag, value = parse("--data={df}", df=[1])
    assert flag == "--data"
    assert value.value == [1]


def test_braces_inside_an_expression_are_its_own():
    (found,) = parse("{dict(a={'b': 1})['a']}")
    assert found.value == {"b": 1}


def test_doubled_braces_are_braces():
    assert parse("""'{{"a": 1}}'""") == ['{"a": 1}']


def test_an_undefined_name_is_named_with_the_nearest():
    with pytest.raises(UnknownName) as caught:
        parse("--min auc={flor}", floor=1)
    assert "'flor'" in str(caught.value)
    assert "did you mean 'floor'?" in str(caught.value)


def test_an_expression_that_raises_is_told_with_its_error():
    with pytest.raises(InvalidArgument, match="ZeroDivisionError"):
        parse("{1 / 0}")


@pytest.mark.parametrize("line", ["{", "{}", "{a b}", "{a"])
def test_braces_without_an_expression_are_an_error(line):
    with pytest.raises(InvalidArgument, match="expression"):
        parse(line, a=1)


def test_a_semicolon_at_the_end_is_taken_off():
    assert strip_semicolon("x;") == ("x", True)
    assert strip_semicolon("'a;'") == ("'a;'", False)
    assert strip_semicolon("") == ("", False)
