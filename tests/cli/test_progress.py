import threading

from mlops_magics.cli.progress import Progress


class Recorded:
    """A bar that records what is drawn."""

    def __init__(self):
        self.drawn, self.closed, self.first = [], False, threading.Event()

    def draw(self, label, done, total, seconds):
        self.drawn.append((label, done, total))
        self.first.set()

    def close(self):
        self.closed = True


def test_work_that_is_quick_shows_nothing():
    bar = Recorded()
    with Progress("quick", show=True, bar=lambda: bar, delay=60):
        pass
    assert not bar.drawn


def test_long_work_shows_how_far_it_is_and_leaves_nothing():
    bar = Recorded()
    with Progress("testing", show=True, bar=lambda: bar, delay=0) as report:
        report(2, 5, "slices")
        assert bar.first.wait(10)
    assert bar.drawn[-1][0].startswith("testing")
    assert bar.closed


def test_headless_nothing_is_made():
    def forbidden():
        raise AssertionError

    with Progress("quiet", show=False, bar=forbidden, delay=0) as report:
        report(1)


def test_a_bar_goes_away_when_the_work_fails():
    bar = Recorded()
    try:
        with Progress("failing", show=True, bar=lambda: bar, delay=0):
            assert bar.first.wait(10)
            raise ValueError
    except ValueError:
        pass
    assert bar.closed
