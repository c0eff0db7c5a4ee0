"""The files of one split, read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from segtrain.data.classes import ClassMap, ids_in
from segtrain.data.listing import Item, Label, Layered
from segtrain.data.sampling import Pixels, Places
from segtrain.data.scan import read_pair, read_pixels
from segtrain.decode.masks import MaskRules
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.windows import Array, Window, cut


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
        item, size = self._items[index], self.sizes[index]
        if self._layered(item.label):
            image = read_pixels(item, size, window, self._reading)
            layers = item.label.layers(size, self._rules)
            _, mask = cut(image, self._class_map.apply_layers(layers), window)
            self._refuse_change(item, image, mask, layers.ids, window or Window(0, 0, *size))
            return image, mask
        image, ids = read_pair(item, size, window, self._rules, self._reading)
        self._refuse_change(item, image, ids, ids_in(ids), window or Window(0, 0, *size))
        return image, self._class_map.apply(ids)

    def mask(self, index: int) -> Array:
        """The canonical mask alone, as `read` gives it."""
        item, size = self._items[index], self.sizes[index]
        if self._layered(item.label):
            return self._class_map.apply_layers(item.label.layers(size, self._rules))
        return self._class_map.apply(item.label.read(size, self._rules))

    def _layered(self, label: Label) -> TypeGuard[Layered]:
        """Whether objects of a label may overlap, and the task keeps all of them."""
        return self._class_map.task.mode == "multilabel" and isinstance(label, Layered)

    def _refuse_change(self, item: Item, image: Array, mask: Array, ids: Sequence[int], wanted: Window) -> None:
        unknown = self._class_map.unknown(ids)
        if unknown or not image.shape[:2] == mask.shape[-2:] == (wanted.height, wanted.width):
            found = f"{mask.shape[-1]} x {mask.shape[-2]} pixels, unknown ids {unknown}"
            raise UserError(f"{where(item)}: image or mask has changed since the start ({found}); start again")


def where(item: Item) -> str:
    """The file that holds an item's label, for messages."""
    return str(item.label.files[0] if item.label.files else item.image)
