"""One look at every file before training: is it readable, what size is it, which ids does it hold?

Each image and mask is decoded once, in threads; the findings give the classes, the class statistics, mean and
standard deviation, and the list of all faults. They are kept in a file keyed by each file's size and time of
change, so the next run on the same data starts at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from segtrain.data.combinations import NO_LAYERS, combinations_of, hidden_places
from segtrain.data.finding import Finding, load_findings, save_findings
from segtrain.data.listing import Item, Layered, MaskFile
from segtrain.data.tally import Tally
from segtrain.decode.headers import MAX_PIXELS, Header, Size
from segtrain.decode.masks import IdArray, MaskRules
from segtrain.decode.readers import DEFAULT, is_transparent, read_header, read_image, read_window
from segtrain.decode.reading import Reading
from segtrain.decode.rotation import applied_tag, turned_size
from segtrain.errors import UserError
from segtrain.seeds import derive
from segtrain.windows import Array, Window

FORMAT = 5  # of the kept findings; raise it when a field changes its meaning
BAND = 2**24  # pixels that are looked at together, of files that can be decoded in parts
SHOWN = 20  # faults listed in one message

Progress = Callable[[int, int], None]  # (files done, files in all)


def scan(
    items: Sequence[Item],
    rules: MaskRules,
    kept: Path | None = None,
    reading: Reading = DEFAULT,
    progress: Progress | None = None,
    anew: bool = False,
) -> list[Finding]:
    """Look through all items, in order.

    Args:
        items: images with their labels.
        rules: how mask files become ids.
        kept: file with the findings of an earlier scan, used for files that have not changed and rewritten.
        reading: how image files become arrays.
        progress: told after each item that is looked at.
        anew: look at all items, unchanged ones too: a file can rot without a new date.
    """
    known = {} if anew else load_findings(kept)
    keys = [_key(item, rules, reading) for item in items]
    missing = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        fresh = pool.map(lambda item: look(item, rules, reading), missing.values())
        for done, (key, finding) in enumerate(zip(missing, fresh, strict=True), 1):
            known[key] = finding
            if progress is not None:
                progress(done, len(missing))
    if kept is not None and missing:
        sound = {key: known[key] for key in keys if not known[key].fault}  # a fault may be mended by chmod alone
        save_findings(kept, sound)
    return [known[key] for key in keys]


def look(item: Item, rules: MaskRules, reading: Reading = DEFAULT) -> Finding:
    """Decode one image and its label in full, large TIFFs in bands of rows; a fault is recorded, not raised."""
    tally = Tally(derive(item.id))
    try:
        header = read_header(item.image, reading.pages if item.page is None else item.page)
        size = meant_size(item, header, rules, reading)
        for window in bands(header, reading.max_pixels):
            image, mask = read_pair(item, size, window, rules, reading, verify=True)
            check_sizes(item, image, mask)
            tally.add(image, mask, 0 if window is None else window.top)
        transparent = reading.channels != "native" and is_transparent(item.image, header)
        layers = item.label.layers(size, rules) if isinstance(item.label, Layered) else NO_LAYERS
    except UserError as error:
        return Finding(fault=str(error))
    total, squared, low, high = (part.tolist() for part in tally.values)
    return Finding(
        size=size,
        total=total,
        squared=squared,
        ids=dict(sorted(tally.ids.items())),
        places=hidden_places(layers, derive(item.id)) | dict(sorted(tally.places.items())),
        digest=tally.digest,
        gist=tally.gist,
        depth=str(image.dtype) if image.dtype == np.uint8 else "float32",
        transparent=transparent,
        shared=combinations_of(layers),
        low=low,
        high=high,
    )


def read_pair(
    item: Item, size: Size, window: Window | None, rules: MaskRules, reading: Reading, verify: bool = False
) -> tuple[Array, IdArray]:
    """An image and the ids of its label, or a part of both.

    Args:
        item: what to read.
        size: (height, width) that both must have.
        window: the part; None: all.
        rules: how mask files become ids.
        reading: how image files become arrays.
        verify: notice truncated images, whatever the reader.

    Raises:
        UserError: one of them cannot be read.
    """
    mask = read_ids(item, size, window, rules)
    return read_pixels(item, size, window, reading, verify), mask


def read_pixels(item: Item, size: Size, window: Window | None, reading: Reading, verify: bool = False) -> Array:
    """The image of an item, or a part of it; see read_pair."""
    if window is None:
        return read_image(item.image, reading, size, item.page, verify)
    return read_window(item.image, window, size, reading, item.page)


def read_ids(item: Item, size: Size, window: Window | None, rules: MaskRules) -> IdArray:
    """The ids of the label of an item, or a part of them; see read_pair."""
    if window is not None and isinstance(item.label, MaskFile):
        return item.label.read_window(rules, window)
    ids = item.label.read(size, rules)
    return ids if window is None else ids[window.slices]


def check_sizes(item: Item, image: Array, mask: IdArray) -> None:
    """Refuse an image and a mask of different sizes.

    Raises:
        UserError: naming both.
    """
    if mask.shape != image.shape[:2]:
        raise UserError(
            f"{item.label.files[0]}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image has "
            f"{image.shape[1]} x {image.shape[0]}; they must have one size"
        )


def meant_size(item: Item, header: Header, rules: MaskRules, reading: Reading) -> Size:
    """(height, width) of an image with its EXIF orientation applied, where the label was drawn on the turned image.

    Raises:
        UserError: the label fits both, so that nothing tells.
    """
    turned = turned_size(header.size, header.tag)
    fits = None
    if header.tag != 1 and reading.orientation == "auto" and turned != header.size:
        fitting = [size for size in (header.size, turned) if _fits(item, size, rules)]
        fits = fitting[0] if len(fitting) == 1 else None
    tag = applied_tag(item.image, header.tag, header.size, fits, reading.orientation)
    return turned_size(header.size, tag)


def _fits(item: Item, size: Size, rules: MaskRules) -> bool:
    try:
        return item.label.read(size, rules).shape == size
    except UserError:  # labels that know their own size say so
        return False


def bands(header: Header, max_pixels: int = MAX_PIXELS) -> Iterator[Window | None]:
    """Bands of rows, from top to bottom, of a file that is large and can be decoded in parts; else None for all."""
    (height, width), block, most = header.size, header.block, min(BAND, max_pixels)
    if block is None or header.tag != 1 or height * width <= most:
        yield None
        return
    rows = max(1, most // width // block[0]) * block[0]
    if rows * width > max_pixels:  # blocks too large for that are decoded more than once
        rows = max(1, max_pixels // width)
    for top in range(0, height, rows):
        yield Window(top, 0, min(rows, height - top), width)


def refuse(what: str, faults: Sequence[str], advice: str = "") -> None:
    """Raise one error that lists all faults (the first 20); do nothing where there are none.

    Args:
        what: they are of.
        faults: a sentence for each.
        advice: what to do about them, as a last line.

    Raises:
        UserError: there are faults.
    """
    if not faults:
        return
    if len(faults) == 1:
        raise UserError("\n".join(filter(None, (faults[0], advice))))
    more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    listed = "".join(f"\n  {fault}" for fault in faults[:SHOWN])
    raise UserError("\n".join(filter(None, (f"{what}: {len(faults)} faults:{listed}{more}", advice))))


def mean_and_std(findings: Sequence[Finding]) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation over all pixels, in [0, 1]; std at least one step of 8 or 16 bits."""
    pixels = sum(f.size[0] * f.size[1] for f in findings)
    mean = np.sum([f.total for f in findings], axis=0) / pixels
    variance = np.sum([f.squared for f in findings], axis=0) / pixels - mean**2
    step = 1 / 255 if all(f.depth == "uint8" for f in findings) else 1 / 65535
    return mean.tolist(), np.sqrt(np.maximum(variance, step**2)).tolist()


def _key(item: Item, rules: MaskRules, reading: Reading) -> str:
    """Changes whenever one of its files or what its label depends on do."""
    files = [item.image, *item.label.files]
    settings = (rules.content, reading.content, str(reading.max_pixels), str(item.page), item.label.settings)
    return f"{derive(FORMAT, *settings, *map(str, files), *map(state, files)):x}"


def state(path: Path) -> str:
    """Size and time of change of a file, as text."""
    try:
        found = path.stat()
    except OSError:  # a link that leads nowhere; `look` will name it
        return "gone"
    return f"{found.st_size}/{found.st_mtime_ns}"
