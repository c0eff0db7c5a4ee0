"""The files of one split, read one by one."""

from __future__ import annotations

from collections.abc import Sequence

from segtrain.data.classes import ClassMap, ids_in
from segtrain.data.listing import Item
from segtrain.data.masks import MaskRules
from segtrain.data.reading import Reading
from segtrain.data.sampling import Pixels, Places
from segtrain.data.scan import read_pair
from segtrain.data.source import Array, Window
from segtrain.errors import UserError


class FileExamples:
    """The files of one split; masks come with canonical ids. Implements Examples."""

    def __init__(
        self,
        items: Sequence[Item],
        sizes: Sequence[tuple[int, int]],
        reading: Reading,
        rules: MaskRules,
        class_map: ClassMap,
        places: Places,
    ) -> None:
        self.ids = [item.id for item in items]
        self.sizes = sizes
        self._items = items
        self._reading = reading
        self._rules = rules
        self._class_map = class_map
        self._places = places

    def places(self, index: int) -> Pixels:
        """Pixels of each class, as the scan found them."""
        return self._places[index]

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """Image [H, W, C] and canonical mask; raises UserError where a file has changed or gone.

        Of a window of a TIFF in tiles or strips, no more is decoded than it touches.
        """
        item, (height, width) = self._items[index], self.sizes[index]
        image, ids = read_pair(item, (height, width), window, self._rules, self._reading)
        unknown = self._class_map.unknown(ids_in(ids))
        wanted = (height, width) if window is None else (window.height, window.width)
        if unknown or not image.shape[:2] == ids.shape == wanted:
            found = f"{ids.shape[1]} x {ids.shape[0]} pixels, unknown ids {unknown}"
            raise UserError(f"{where(item)}: image or mask has changed since the start ({found}); start again")
        return image, self._class_map.apply(ids)


def where(item: Item) -> str:
    """The file that holds an item's label, for messages."""
    return str(item.label.files[0] if item.label.files else item.image)
