"""Shares of traffic: by chance within what chance allows, by key always the same."""

import math
from collections import Counter

import pytest

from mlops_magics.serving.metrics import Tally
from mlops_magics.serving.plan import LogPolicy, PlannedRevision, Share
from mlops_magics.serving.routing import Arm, Endpoint, Revision

ALL = LogPolicy()


def endpoint(log=ALL, **percents):
    arms = []
    for number, (variant, percent) in enumerate(percents.items(), 1):
        planned = PlannedRevision(number, "e", number, "m", str(number), "/p")
        share = Share(number, variant, percent)
        arms.append(Arm(Revision(planned), share, Tally(("e", str(number), "1", variant))))
    return Endpoint("e", arms, log)


def test_a_share_is_kept_within_what_chance_allows():
    split = endpoint(champion=90.0, canary=10.0)
    count = 20_000
    chosen = Counter(split.choose().variant for _ in range(count))
    # five standard deviations: one run in a million fails by chance
    assert abs(chosen["canary"] - count * 0.1) < 5 * math.sqrt(count * 0.1 * 0.9)


def test_keys_are_spread_as_the_shares_say_and_stay_where_they_are():
    split = endpoint(champion=90.0, canary=10.0)
    keys = [f"customer-{number}".encode() for number in range(20_000)]
    first = [split.choose(key).variant for key in keys]
    assert [split.choose(key).variant for key in keys] == first
    share = first.count("canary") / len(keys)
    assert abs(share - 0.1) < 5 * math.sqrt(0.1 * 0.9 / len(keys))


def test_who_had_the_canary_keeps_it_when_its_share_grows():
    small, large = endpoint(champion=95.0, canary=5.0), endpoint(champion=75.0, canary=25.0)
    keys = [f"customer-{number}".encode() for number in range(2_000)]
    had = [key for key in keys if small.choose(key).variant == "canary"]
    assert had
    assert all(large.choose(key).variant == "canary" for key in had)


def test_a_shadow_is_never_chosen():
    split = endpoint(champion=100.0, shadow=100.0)
    assert {split.choose().variant for _ in range(100)} == {"champion"}
    assert split.serving("2") is None
    assert [arm.variant for arm in split.shadows] == ["shadow"]


@pytest.mark.parametrize(("mode", "fraction", "kept"), [("off", 1.0, 0), ("durable", 0.0, 0)])
def test_nothing_is_logged_where_the_policy_says_so(mode, fraction, kept):
    split = endpoint(LogPolicy(mode=mode, fraction=fraction), champion=100.0)
    assert sum(split.logs(f"{number:030x}") for number in range(100)) == kept


def test_a_fraction_of_the_requests_is_logged_always_the_same_ones():
    split = endpoint(LogPolicy(fraction=0.25), champion=100.0)
    ids = [f"{number:030x}" for number in range(10_000)]
    logged = [split.logs(one) for one in ids]
    assert [split.logs(one) for one in ids] == logged
    assert abs(sum(logged) / len(ids) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(ids))
