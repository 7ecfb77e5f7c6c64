"""The arguments of a rollout: what is understood, and what is refused."""

import pytest

import mlops_magics as mlops
from mlops_magics.deployment.rules import LIMITS, Rules, candidacy, percentage


def test_a_canary_climbs_from_its_share_to_half_unless_steps_are_given():
    assert candidacy(canary=10).steps == (10, 50)
    assert candidacy(canary="60%").steps == (60,)
    assert candidacy(steps="1%, 5%,25 %").steps == (1, 5, 25)
    assert candidacy(canary=5, steps=[5, 20]).steps == (5, 20)


def test_a_shadow_mirrors_all_unless_a_share_is_given():
    assert candidacy(shadow=True).steps == (100,)
    assert (candidacy(shadow="5%").variant, candidacy(shadow="5%").steps) == ("shadow", (5,))
    assert candidacy(shadow=False) is None
    assert candidacy() is None


def test_limits_are_numbers_percentages_or_off():
    rules = candidacy(canary=10, rules={"errors": "2%", "latency": 3, "shift": "off"}).rules
    assert rules.limits == {**LIMITS, "errors": 0.02, "latency": 3.0, "shift": None}
    assert Rules.of(rules.to_dict()) == rules
    assert "errors at most 2 % above" in rules.sentence()
    assert "shift" not in rules.sentence()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"canary": 100}, "no share beside a champion"),
        ({"canary": 0}, "no share beside a champion"),
        ({"canary": "ten"}, "'ten' is no percentage"),
        ({"canary": True}, "True is no percentage"),
        ({"canary": 10, "shadow": True}, "either a canary or a shadow"),
        ({"canary": 10, "steps": "20%,50%"}, "does not begin with the step 20 %"),
        ({"steps": "50%,10%"}, "do not rise"),
        ({"steps": []}, "do not rise"),
        ({"every": "60s"}, "neither was asked for"),
        ({"canary": 10, "every": "soon"}, "no span of time"),
        ({"canary": 10, "min_requests": 0}, "no positive number"),
        ({"canary": 10, "rules": {"erors": 1}}, "no rule 'erors'\n  → did you mean 'errors'"),
        ({"canary": 10, "rules": {"errors": "few"}}, "is no limit"),
        ({"canary": 10, "analysis": "of"}, "did you mean 'off'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value(given, message):
    with pytest.raises(mlops.InvalidArgument) as refused:
        candidacy(**given)
    assert message in str(refused.value)


def test_a_whole_share_is_for_shadows():
    assert percentage("100%", whole=True) == 100
