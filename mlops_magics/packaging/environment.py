"""Environments: what must be installed, exactly, for a package to predict.

``requirements.txt`` names the distributions a package needs, ``requirements.lock`` all that those
need in turn, each as ``name==version`` of what is installed now. Nothing is run to find out.
"""

from __future__ import annotations

import functools
import platform
import re
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from mlops_magics.errors import ModelError

__all__ = ["distribution_of", "lock", "pinned", "python_environment", "version_of"]


def pinned(distribution: str) -> str:
    """Return ``name==version`` of an installed distribution.

    Raises
    ------
    ModelError
        It is not installed.

    Examples
    --------
    >>> pinned("numpy").partition("==")[0]
    'numpy'
    """
    try:
        return f"{_normal(distribution)}=={metadata.version(distribution)}"
    except metadata.PackageNotFoundError as exc:
        raise ModelError(
            f"the model needs the package {distribution!r}, which is not installed",
            hint=f"pip install {distribution}",
        ) from exc


@functools.cache
def lock(distributions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the exact versions of distributions and of all that they need, sorted.

    Parameters
    ----------
    distributions : tuple of str
        Names; an extra is written ``name[extra]``.

    Examples
    --------
    >>> [line.partition("==")[0] for line in lock(("pandas",))]
    ['numpy', 'pandas', 'python-dateutil', 'six']
    """
    pending = [Requirement(name) for name in distributions]
    done: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    while pending:
        requirement = pending.pop()
        name = _normal(requirement.name)
        wanted = {"", *requirement.extras}
        fresh = {extra for extra in wanted if (name, extra) not in seen}
        if not fresh:
            continue
        seen |= {(name, extra) for extra in fresh}
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a requirement that a vendor bundles or that this platform does not need
        done[name] = found.version
        for text in found.requires or ():
            try:
                needed = Requirement(text)
            except InvalidRequirement:
                continue  # old metadata; pip warns of it when installing
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in fresh):
                pending.append(needed)
    return tuple(f"{name}=={done[name]}" for name in sorted(done))


def python_environment() -> dict[str, Any]:
    """Return the content of MLflow's ``python_env.yaml``."""
    builders = []
    for name in ("pip", "setuptools", "wheel"):
        try:
            builders.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue  # made with uv: no builder is installed
    return {
        "python": platform.python_version(),
        "build_dependencies": builders or ["pip"],
        "dependencies": ["-r requirements.txt"],
    }


def version_of(distribution: str) -> str | None:
    """Return the installed version of a distribution; None if it is not installed.

    Examples
    --------
    >>> version_of("no-such-distribution") is None
    True
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def distribution_of(module: str) -> str | None:
    """Return the distribution that a top-level module belongs to; None for a local one.

    Examples
    --------
    >>> distribution_of("sklearn")
    'scikit-learn'
    """
    found = _by_module().get(module)
    return _normal(found[0]) if found else None


@functools.cache
def _by_module() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
