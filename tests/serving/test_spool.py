"""The spool keeps whole lines."""

import stat

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
    assert spool.failures == 1
    assert spool.path.read_text().splitlines() == ['{"id":"1"}', '{"id":"3"}']
    spool.close()
