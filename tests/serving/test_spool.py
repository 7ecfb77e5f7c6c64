"""The spool keeps whole lines."""

import stat
import time

import pytest

from mlops_magics.serving.spool import Spool


def test_a_full_segment_is_followed_by_the_next(tmp_path):
    spool = Spool(tmp_path, segment=40)
    for index in range(6):
        spool.append([b'{"id":"%d"}' % index, b'{"id":"again"}'])
    spool.close()
    segments = sorted(tmp_path.glob("*.jsonl"))
    assert len(segments) == 6
    assert [s.read_text().splitlines()[0] for s in segments] == [
        f'{{"id":"{i}"}}' for i in range(6)
    ]
    assert {stat.S_IMODE(s.stat().st_mode) for s in segments} == {0o600}


def test_a_write_that_fails_leaves_no_half_line(tmp_path, monkeypatch):
    import os

    spool = Spool(tmp_path)
    spool.append([b'{"id":"1"}'])
    real = os.write

    def short(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        return real(descriptor, data[:4])

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        spool.append([b'{"id":"2"}'])
    monkeypatch.setattr(os, "write", real)
    spool.append([b'{"id":"3"}'])
    assert spool.failures["disk"] == 1
    # in a new segment: a reader may have been past the cut already
    assert texts(tmp_path) == ['{"id":"1"}\n', '{"id":"3"}\n']
    spool.close()


def texts(folder):
    return [path.read_text() for path in sorted(folder.glob("*.jsonl"))]


def test_lines_are_refused_while_no_segment_can_be_made_and_taken_again_after(
    tmp_path, monkeypatch
):
    import os

    spool = Spool(tmp_path, segment=20)
    spool.append([b'{"id":"1234567"}'])
    real = os.open

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            spool.append([b'{"id":"2"}'])
    monkeypatch.setattr(os, "open", real)
    spool.append([b'{"id":"3"}'])
    spool.close()
    assert spool.failures["disk"] == 2
    assert texts(tmp_path) == ['{"id":"1234567"}\n', '{"id":"3"}\n']


def test_past_its_limit_lines_are_refused_until_the_agent_has_taken_some_away(
    tmp_path, monkeypatch
):
    clock = iter(range(100, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    spool = Spool(tmp_path, segment=12, limit=30)
    line = b'{"id":"1"}'
    spool.append([line])
    spool.append([line])
    with pytest.raises(OSError, match="limit of 30 bytes"):
        spool.append([line])
    assert spool.state() == {
        "bytes": 22,
        "limit": 30,
        "failing": True,
        "failures": {"limit": 1, "disk": 0, "sync": 0, "other": 0},
    }
    min(tmp_path.glob("*.jsonl")).unlink()
    spool.append([line])
    spool.close()
    assert spool.written == 33


def test_segments_sort_as_they_were_written_when_the_clock_is_set_back(tmp_path, monkeypatch):
    spool = Spool(tmp_path, segment=10)
    spool.append([b'{"id":"1"}'])
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    spool.append([b'{"id":"2"}'])
    spool.close()
    assert texts(tmp_path) == ['{"id":"1"}\n', '{"id":"2"}\n']
