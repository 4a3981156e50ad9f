"""New configurations for a model to choose from: some anywhere in the space, some near good trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.search.points.cube import Cube

DRAWN = 100  # configurations anywhere in the space
FRESH = 0.25  # of them, so many are drawn anew each time
NEIGHBOURS = 24  # of each good trial

Params = dict[str, Any]
Array = NDArray[np.float64]
Candidate = tuple[Mapping[str, Any], Array]  # a configuration that has what cannot differ, and its point


class Candidates:
    """Valid configurations that were not tried yet.

    Args:
        draw: gives a random configuration in which conditions and constraints hold.
        mend: of a configuration near a good one, what exists; None where the space forbids it. Without it,
            all are taken to be allowed.
        drawn, neighbours: how many configurations there are anywhere, and near each good trial.
    """

    def __init__(
        self,
        cube: Cube,
        draw: Callable[[], Params],
        mend: Callable[[Mapping[str, Any]], Params | None] | None,
        rng: np.random.Generator,
        *,
        drawn: int = DRAWN,
        neighbours: int = NEIGHBOURS,
    ) -> None:
        self._count, self._neighbours = drawn, neighbours
        self._cube, self._draw, self._mend, self._rng = cube, draw, mend, rng
        self._drawn: list[Candidate] = []
        self._single = {name: value for name, value in draw().items() if name not in cube.axes}

    def near(self, good: Sequence[Candidate], *, tried: Array) -> list[Candidate]:
        """Configurations anywhere, and near each of `good`; without `tried` points."""
        count = self._count
        self._drawn = [*self._drawn, *self._fresh(round(FRESH * count) if self._drawn else count)][-count:]
        found = list(self._drawn)
        origins = [one for one in good for _ in range(self._neighbours)]
        others = [self._drawn[other] for other in self._rng.integers(0, count, len(origins))]
        points = self._cube.near(
            np.array([row for _, row in origins]), np.array([point for _, point in others]), self._rng
        )
        if self._mend is None:
            found += [(origin, point) for (origin, _), point in zip(origins, points, strict=True)]
        else:
            mended = [
                self._mend({**other, **self._cube.decode(point, origin)})
                for (origin, _), (other, _), point in zip(origins, others, points, strict=True)
            ]
            valid = [params for params in mended if params is not None]
            found += zip(valid, self._cube.encode(valid), strict=True)
        known = {row.tobytes() for row in tried}
        return [one for one in found if one[1].tobytes() not in known] or found

    def _fresh(self, count: int) -> list[Candidate]:
        """Configurations anywhere. Where all are allowed, they are drawn as points, which is fast."""
        if self._mend is None:
            return [(self._single, point) for point in self._cube.drawn(count, self._rng)]
        drawn = [self._draw() for _ in range(count)]
        return list(zip(drawn, self._cube.encode(drawn), strict=True))
