"""The files of one split, read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeGuard, TypeVar

from segtrain.data.classes import ClassMap, ids_in
from segtrain.data.listing import Item, Label, Layered, MaskFile
from segtrain.data.sampling import Pixels, Places
from segtrain.data.scan import read_ids, read_pixels
from segtrain.decode.masks import IdArray, MaskRules
from segtrain.decode.readers import header_of_parts
from segtrain.decode.reading import Reading
from segtrain.errors import UserError
from segtrain.windows import Array, Window

T = TypeVar("T")


class Latest(Generic[T]):
    """Keeps what was made last: the tiles of an image come one after another."""

    def __init__(self) -> None:
        self._kept: tuple[int, T] | None = None

    def get(self, index: int, make: Callable[[], T]) -> T:
        """What was made for this index; made now, where another one came last."""
        kept = self._kept
        if kept is None or kept[0] != index:
            self._kept = None  # makes room first
            kept = self._kept = (index, make())
        return kept[1]


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
        self._in_parts: dict[tuple[Path, str | int], bool] = {}
        self._image: Latest[Array] = Latest()
        self._labels: Latest[IdArray] = Latest()
        self._layers: Latest[tuple[Array, Sequence[int]]] = Latest()

    def places(self, index: int) -> Pixels:
        """Pixels of each class, as the scan found them."""
        return self._places[index]

    def read(self, index: int, window: Window | None = None) -> tuple[Array, Array]:
        """Image [H, W, C] and canonical mask; raises UserError where a file has changed or gone.

        Of a window of a TIFF in tiles or strips, no more is decoded than it touches. Where an image or a label can
        only be had as a whole, it is kept until a window of another one is wanted.
        """
        item, wanted = self._items[index], window or Window(0, 0, *self.sizes[index])
        image = self._pixels(index, window)
        if self._layered(item.label):
            whole, held = self._planes(item.label, index, window)
            mask = whole[(..., *wanted.slices)]
            self._refuse_change(item, image, mask, held, wanted)
            return image, mask
        ids = self._ids(index, window)
        self._refuse_change(item, image, ids, ids_in(ids), wanted)
        return image, self._class_map.apply(ids)

    def mask(self, index: int) -> Array:
        """The canonical mask alone, as `read` gives it, whole: max_pixels is for files that are not known yet."""
        item, size = self._items[index], self.sizes[index]
        rules = replace(self._rules, max_pixels=max(self._rules.max_pixels, size[0] * size[1]))
        if self._layered(item.label):
            return self._class_map.apply_layers(item.label.layers(size, rules))
        return self._class_map.apply(item.label.read(size, rules))

    def _layered(self, label: Label) -> TypeGuard[Layered]:
        """Whether objects of a label may overlap, and the task keeps all of them."""
        return self._class_map.task.mode == "multilabel" and isinstance(label, Layered)

    def _pixels(self, index: int, window: Window | None) -> Array:
        item, size, reading = self._items[index], self.sizes[index], self._reading
        if window is None or self._divisible(item.image, reading.pages if item.page is None else item.page):
            return read_pixels(item, size, window, reading)
        return self._image.get(index, lambda: read_pixels(item, size, None, reading))[window.slices]

    def _ids(self, index: int, window: Window | None) -> IdArray:
        item, size, rules, label = self._items[index], self.sizes[index], self._rules, self._items[index].label
        pages = label.page if isinstance(label, MaskFile) and label.page is not None else "error"
        if window is None or (isinstance(label, MaskFile) and self._divisible(label.path, pages)):
            return read_ids(item, size, window, rules)
        return self._labels.get(index, lambda: read_ids(item, size, None, rules))[window.slices]

    def _planes(self, label: Layered, index: int, window: Window | None) -> tuple[Array, Sequence[int]]:
        """The whole mask, and the ids in it."""

        def drawn() -> tuple[Array, Sequence[int]]:
            layers = label.layers(self.sizes[index], self._rules)
            return self._class_map.apply_layers(layers), layers.ids

        return drawn() if window is None else self._layers.get(index, drawn)

    def _divisible(self, path: Path, pages: str | int) -> bool:
        """Whether parts of a file can be decoded alone."""
        if (path, pages) not in self._in_parts:
            self._in_parts[path, pages] = header_of_parts(path, pages) is not None
        return self._in_parts[path, pages]

    def _refuse_change(self, item: Item, image: Array, mask: Array, ids: Sequence[int], wanted: Window) -> None:
        unknown = self._class_map.unknown(ids)
        if unknown or not image.shape[:2] == mask.shape[-2:] == (wanted.height, wanted.width):
            found = f"{mask.shape[-1]} x {mask.shape[-2]} pixels, unknown ids {unknown}"
            raise UserError(f"{where(item)}: image or mask has changed since the start ({found}); start again")


def where(item: Item) -> str:
    """The file that holds an item's label, for messages."""
    return str(item.label.files[0] if item.label.files else item.image)
