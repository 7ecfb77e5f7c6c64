"""The order of a pipeline's steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from mlops_magics.errors import SpecInvalid

__all__ = ["order", "sorter"]


def sorter(needs: Mapping[str, Iterable[str]]) -> TopologicalSorter[str]:
    """Return a prepared sorter: ``get_ready()`` gives what can start, ``done()`` frees more.

    Parameters
    ----------
    needs : mapping
        For each step the steps that must have finished before it.

    Raises
    ------
    SpecInvalid
        Steps wait for each other; the circle is named.
    """
    graph: TopologicalSorter[str] = TopologicalSorter(needs)
    try:
        graph.prepare()
    except CycleError as exc:
        circle = " → ".join(reversed(exc.args[1]))
        raise SpecInvalid(
            f"steps need each other in a circle: {circle}", hint="take one of these needs away"
        ) from exc
    return graph


def order(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the steps in an order that respects their needs, else in the order given.

    Examples
    --------
    >>> order({"train": ["ingest"], "report": [], "ingest": []})
    ['report', 'ingest', 'train']
    """
    graph = sorter(needs)
    place = {step: number for number, step in enumerate(needs)}
    ready: list[str] = []
    result: list[str] = []
    while graph.is_active():
        ready = sorted([*ready, *graph.get_ready()], key=place.__getitem__)
        step = ready.pop(0)
        graph.done(step)
        result.append(step)
    return result
