"""Pixels that several ids claim: how many hold which ids together, and where the hidden ones are."""

from __future__ import annotations

import numpy as np

from segtrain.data.raster import GROUND, Layers
from segtrain.data.tally import places_of

NO_LAYERS = Layers((), np.zeros((0, 1, 1), dtype=bool))


def hidden_places(layers: Layers, seed: int) -> dict[int, list[tuple[int, int]]]:
    """As places_of, of objects that may lie below others."""
    found = zip(layers.ids, layers.planes, strict=True)
    random = np.random.default_rng(seed)
    return {index: places_of(plane.astype(np.uint8), random)[1][1] for index, plane in found if plane.any()}


def combinations_of(layers: Layers) -> list[tuple[list[int], int]]:
    """Ids and number of the pixels of each combination; nothing where there are no two ids that could overlap."""
    if len(layers.ids) < 2:
        return []
    planes = layers.planes.reshape(len(layers.ids), -1)
    several = planes.sum(0, dtype=np.int32) > 1  # a few pixels: only they are worth sorting
    found = [([GROUND], int((~planes.any(0)).sum()))]
    found += [([index], int((plane & ~several).sum())) for index, plane in zip(layers.ids, planes, strict=True)]
    if several.any():
        packed, counts = np.unique(np.packbits(planes[:, several], axis=0), axis=1, return_counts=True)
        columns = np.unpackbits(packed, axis=0, count=len(planes))
        names = ([layers.ids[row] for row in np.flatnonzero(column).tolist()] for column in columns.T)
        found += list(zip(names, counts.tolist(), strict=True))
    return [(ids, pixels) for ids, pixels in found if pixels]
