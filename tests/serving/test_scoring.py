"""What is logged of an answer, and what becomes of it when it cannot be logged."""

import json

import pytest

from mlops_magics.serving.exchange import Exchange, Refused
from mlops_magics.serving.invocation import invoke, read_invocation
from mlops_magics.serving.metrics import Tally
from mlops_magics.serving.plan import LogPolicy, PlannedRevision, Share
from mlops_magics.serving.routing import Arm, Endpoint, Revision
from mlops_magics.serving.scoring import Scorer
from mlops_magics.serving.validation import Column, Schema

SCHEMA = Schema([Column("ssn", "string"), Column("x", "double")])
BODY = json.dumps({"dataframe_records": [{"ssn": "123", "x": 2.5}]}).encode()
ALL = LogPolicy()
HEAD = [(b"content-type", b"application/json"), (b"x-request-id", b"mine")]


class Sink:
    """A spool that keeps its lines, or has no room."""

    def __init__(self, full=False):
        self.full = full
        self.lines = []

    def append(self, lines):
        if self.full:
            raise OSError(28, "No space left on device")
        assert not any(b"\n" in line for line in lines)
        self.lines += [json.loads(line) for line in lines]


class Doubling:
    """A batcher that answers at once: x doubled."""

    def __init__(self, scorer, ready=1, queue=()):
        self.scorer, self.ready, self.queue = scorer, ready, list(queue)

    def submit(self, item):
        item.outputs = [row[1] * 2 for row in item.rows]
        self.scorer.deliver([item])


def arm(scorer, variant="champion", percent=100.0, mask=(), **batcher):
    revision = Revision(PlannedRevision(1, "e", 1, "m", "3", "/p"))
    revision.schema, revision.columns = SCHEMA, b'["ssn","x"]'
    revision.batcher = Doubling(scorer, **batcher)
    share = Share(1, variant, percent)
    return Arm(revision, share, Tally(("e", "1", "3", variant)), mask)


def ask(spool, log=ALL, body=BODY, shadows=()):
    scorer = Scorer(spool)
    champion = arm(scorer, mask=log.mask)
    others = [arm(scorer, "shadow", **options) for options in shadows]
    endpoint = Endpoint("e", [champion, *others], log)
    answers = []
    exchange = Exchange(HEAD)
    invoke(scorer, exchange, endpoint, champion, read_invocation, body, answers.append)
    (answer,) = answers
    return answer, scorer, endpoint


def test_an_answer_is_in_the_log_before_it_leaves():
    answer, _, _ = ask(sink := Sink())
    assert (answer.status, answer.logged, answer.body) == (200, True, b'{"predictions":[5.0]}')
    (line,) = sink.lines
    assert (line["client_id"], line["rows"], line["outputs"]) == ("mine", [["123", 2.5]], [5.0])


def test_masked_columns_are_kept_as_null():
    answer, _, _ = ask(sink := Sink(), LogPolicy(mask=["ssn"]))
    assert answer.body == b'{"predictions":[5.0]}'
    assert sink.lines[0]["rows"] == [[None, 2.5]]


@pytest.mark.parametrize(
    "data", ['[["123",2.5]]', '[[ "123",\n 2.5 ]]', '[["\\u0031\\u00323",2.5e0]]']
)
def test_rows_are_kept_as_they_came_and_read_the_same(data):
    body = f'{{"dataframe_split": {{"columns": ["ssn", "x"], "data": {data}}}}}'
    ask(sink := Sink(), body=body.encode())
    assert sink.lines[0]["rows"] == [["123", 2.5]]


def test_a_long_text_is_kept_with_its_length_and_digest():
    long = {"dataframe_records": [{"ssn": "9" * 300_000, "x": 1.0}]}
    ask(sink := Sink(), body=json.dumps(long).encode())
    (text, x) = sink.lines[0]["rows"][0]
    assert x == 1.0
    assert len(text) < 1200
    assert "300000 in all, sha256:" in text


def test_without_room_answers_go_on_unlogged_and_counted():
    answer, scorer, _ = ask(Sink(full=True))
    assert (answer.status, answer.logged) == (200, False)
    assert scorer.unlogged == 1


def test_without_room_a_strict_endpoint_answers_503():
    answer, scorer, _ = ask(Sink(full=True), LogPolicy(mode="strict"))
    assert answer.status == 503
    assert (b"retry-after", b"1") in answer.headers
    assert b"predictions" not in answer.body
    assert scorer.unlogged == 1


def test_a_refusal_is_one_line_and_stands_without_room():
    answer, _, _ = ask(sink := Sink(), body=b"{")
    assert (answer.status, len(sink.lines)) == (400, 1)
    assert ask(Sink(full=True), LogPolicy(mode="strict"), b"{")[0].status == 400


def test_a_shadow_is_asked_the_same_and_nobody_gets_its_answer():
    answer, _, endpoint = ask(sink := Sink(), shadows=[{}])
    primary, shadow = sink.lines
    assert (primary["variant"], shadow["variant"]) == ("champion", "shadow")
    assert shadow["mirror_of"] == primary["id"] != shadow["id"]
    assert shadow["rows"] == primary["rows"]
    assert answer.body == b'{"predictions":[5.0]}'
    assert endpoint.shadows[0].tally.statuses == {200: 1}


@pytest.mark.parametrize("state", [{"ready": 0}, {"queue": [None] * 64}])
def test_a_shadow_that_cannot_keep_up_is_left_out_and_counted(state):
    _, _, endpoint = ask(sink := Sink(), shadows=[state])
    assert [line["variant"] for line in sink.lines] == ["champion"]
    assert endpoint.shadows[0].tally.shed == 1


def test_a_shadow_that_is_asked_nothing_costs_nothing():
    _, _, endpoint = ask(sink := Sink(), shadows=[{"percent": 0.0}])
    assert len(sink.lines) == 1
    assert endpoint.shadows[0].tally.shed == 0


@pytest.mark.parametrize(
    ("parent", "found"),
    [
        (
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        (b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", None),
        (b"ff-" + b"4bf9" * 8 + b"-00f067aa0ba902b7-01", None),
        (b"00-" + b"4BF9" * 8 + b"-00f067aa0ba902b7-01", None),
        (b"nonsense", None),
    ],
)
def test_a_trace_id_is_taken_from_a_valid_traceparent_only(parent, found):
    assert Exchange([(b"traceparent", parent)]).trace_id == found


def test_a_refusal_has_the_headers_that_its_status_asks_for():
    assert Refused(429, "wait").all_headers() == [(b"retry-after", b"1")]
    assert Refused(401, "who").all_headers() == [(b"www-authenticate", b"Bearer")]
