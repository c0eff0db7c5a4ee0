"""What the palettes of masks say of their ids, which are the indices: colours that contradict the classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from segtrain.audit.faults import ItemTrouble
from segtrain.audit.trouble import Trouble
from segtrain.data.classes import ClassMap
from segtrain.data.finding import Found
from segtrain.data.listing import MaskFile
from segtrain.decode.headers import open_image
from segtrain.errors import UserError
from segtrain.task import Color

Palette = Sequence[Color]


def contradictions(sound: Sequence[Found], colors: Mapping[Color, int] | None) -> Iterator[ItemTrouble]:
    """Masks whose palette shows an id in the colour that was declared for another one.

    Args:
        sound: all that could be read.
        colors: id of each declared colour.
    """
    if not colors:
        return
    for (item, finding), path, palette in _with_palettes(sound):
        shown = [(i, colors[palette[i]]) for i in sorted(finding.ids) if i < len(palette) and palette[i] in colors]
        wrong = [(i, meant) for i, meant in shown if i != meant]
        if wrong:
            (index, meant), more = wrong[0], f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            sentence = (
                f"{path}: its palette shows the id {index} in the declared colour of {meant}{more}; save it as RGB, so "
                "that its colours count, or, where the ids are right, set data.colors=ids"
            )
            yield ItemTrouble(item, Trouble("palette against the declared colours", sentence, item.image))


def odd_palettes(sound: Sequence[Found], class_map: ClassMap) -> Iterator[Trouble]:
    """Without declared colours: ids that have another colour in each file, and a background brighter than the rest."""
    shown: dict[int, dict[Color, Path]] = defaultdict(dict)
    for (_, finding), path, palette in _with_palettes(sound):
        for index in finding.ids:
            if index < len(palette):
                shown[index].setdefault(palette[index], path)
    different = {index: list(files.items()) for index, files in sorted(shown.items()) if len(files) > 1}
    if different:
        index, ((one, first), (other, second), *_) = next(iter(different.items()))
        yield Trouble(
            "palettes of different order",
            f"{second}: its palette shows the id {index} as {_rgb(other)}, that of {first} as {_rgb(one)} (in all "
            f"{len(different)} ids differ); if they were made for each file anew, an id means something else in each: "
            "save the masks as RGB and name the colours with data.colors",
        )
    elif class_map.inferred and class_map.task.mode == "binary" and len(shown) == 2:
        (ground, (dark, *_)), (front, (light, *_)) = sorted(shown.items())
        if sum(dark) > sum(light):
            yield Trouble(
                "palette with a bright background",
                f"{next(iter(shown[ground].values()))}: its palette shows {ground}, which is taken as background, as "
                f"{_rgb(dark)}, and {front}, the foreground, as {_rgb(light)}; if it is the other way round, set "
                f"data.classes='{{{front}: background, {ground}: foreground}}'",
            )


def _with_palettes(sound: Sequence[Found]) -> Iterator[tuple[Found, Path, Palette]]:
    """The items whose mask is a file with a palette; a ramp of greys, (i, i, i) for each id, says nothing."""
    for item, finding in sound:
        palette = palette_of(item.label.path) if isinstance(item.label, MaskFile) else []
        if any(palette[i] != (i, i, i) for i in finding.ids if i < len(palette)):
            yield (item, finding), item.label.files[0], palette


def palette_of(path: Path) -> Palette:
    """The colours of a file's palette by index, none where it has none; of formats that store them as RGB, as PNG."""
    try:
        with open_image(path) as header:
            palette = header.palette if header.mode == "P" else None
    except UserError:
        return []
    if palette is None or palette.mode != "RGB" or palette.rawmode not in (None, "RGB"):
        return []
    values = bytes(palette.palette)
    return [(values[i], values[i + 1], values[i + 2]) for i in range(0, len(values) - 2, 3)]


def _rgb(color: Color) -> str:
    return f"({','.join(map(str, color))})"
