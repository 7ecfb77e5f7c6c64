"""A table in numbers that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mlops_magics.errors import InvalidArgument
from mlops_magics.profiles import columns as column
from mlops_magics.profiles.columns import Categorical, Numeric

__all__ = ["Profile"]

FORMAT = 1


@dataclass(frozen=True)
class Profile:
    """The profile of a table.

    Attributes
    ----------
    rows : int
        Rows seen.
    columns : mapping of str to Numeric or Categorical
        By column name, in the table's order.
    extra : mapping of str to int
        Rows that had a column which the reference does not have, by its name.

    Examples
    --------
    >>> import pandas as pd
    >>> train = pd.DataFrame({"hour": [6, 7, 7, 9], "origin": ["JFK", "LGA", "JFK", None]})
    >>> reference = Profile.of(train)
    >>> reference.columns["hour"].mean, reference.columns["origin"].nulls
    (7.25, 1)
    >>> today = Profile.of(pd.DataFrame({"hour": [8, 23], "origin": ["EWR", "JFK"]}), reference)
    >>> dict(today.columns["origin"].unseen)
    {'EWR': 1}
    >>> today.merge(today).columns["origin"].bins
    array([2, 0, 2])
    """

    rows: int
    columns: Mapping[str, Numeric | Categorical]
    extra: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pd.DataFrame, reference: Profile | None = None) -> Profile:
        """Profile a table.

        Parameters
        ----------
        frame : DataFrame
            The rows; any dtypes.
        reference : Profile, optional
            Count on its columns, types, edges and categories; without it they are chosen from
            the data.
        """
        frame = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame)
        found = {str(name): frame.iloc[:, place] for place, name in enumerate(frame.columns)}
        if reference is None:
            return cls(
                len(frame), {name: column.describe(series) for name, series in found.items()}
            )
        columns = {
            name: column.count(found[name], known)
            if name in found
            else column.empty(known, len(frame))
            for name, known in reference.columns.items()
        }
        extra = {name: len(frame) for name in found if name not in reference.columns}
        return cls(len(frame), columns, extra)

    def codes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return in which bin each value of a table is, as small numbers.

        After a column's bins come two more: one for nulls, one for values of the wrong type. A
        column that the table lacks is null.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, any)
            Columns that the profile does not have are left out.

        Examples
        --------
        >>> profile = Profile.of(pd.DataFrame({"origin": ["JFK", "JFK", "LGA"]}))
        >>> profile.codes(pd.DataFrame({"origin": ["LGA", None, "SFO"]}))["origin"].tolist()
        [1, 3, 2]
        """
        found = {str(name): frame.iloc[:, place] for place, name in enumerate(frame.columns)}
        return pd.DataFrame(
            {
                name: column.codes(found[name], known)
                if name in found
                else np.full(len(frame), len(known.bins), dtype=np.int16)
                for name, known in self.columns.items()
            }
        )

    def merge(self, other: Profile) -> Profile:
        """Add another profile made on the same reference; see `merge_all`."""
        return Profile.merge_all([self, other])

    @classmethod
    def merge_all(cls, profiles: Sequence[Profile]) -> Profile:
        """Add profiles that were made on the same reference.

        Counts add exactly; moments by Chan, Golub and LeVeque, "Algorithms for computing the
        sample variance" (1983), over all parts at once.

        Raises
        ------
        InvalidArgument
            There is none, or they have different columns, edges or categories.
        """
        if not profiles:
            raise InvalidArgument("there is no profile to merge")
        first = profiles[0]
        if len(profiles) == 1:
            return first
        if any(part.columns.keys() != first.columns.keys() for part in profiles):
            raise InvalidArgument("profiles of different columns cannot be merged")
        columns = {
            name: column.merge(name, [part.columns[name] for part in profiles])
            for name in first.columns
        }
        extra = column.add(part.extra for part in profiles)
        return cls(sum(part.rows for part in profiles), columns, extra)

    def to_dict(self, *, edges: bool = True) -> dict[str, Any]:
        """Return plain JSON values.

        Parameters
        ----------
        edges : bool
            False leaves out what the reference has already (edges, categories): windows are
            stored so.
        """
        columns = {name: column.to_dict(one, edges=edges) for name, one in self.columns.items()}
        found: dict[str, Any] = {"format": FORMAT, "rows": self.rows, "columns": columns}
        return found | ({"extra": dict(self.extra)} if self.extra else {})

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], reference: Profile | None = None) -> Profile:
        """Read what `to_dict` wrote; ``reference`` gives the edges that were left out.

        Raises
        ------
        InvalidArgument
            The format is unknown, or there are neither edges nor a reference that fits.
        """
        if value.get("format") != FORMAT:
            raise InvalidArgument(f"profile format {value.get('format')!r} is unknown")
        known = {} if reference is None else reference.columns
        columns = {
            name: column.from_dict(name, entry, known.get(name))
            for name, entry in value["columns"].items()
        }
        return cls(value["rows"], columns, value.get("extra", {}))
