"""A sheet of pictures with words below them: cells in rows, a title, and a legend of colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segtrain.draw import Picture
from segtrain.task import Color

BETWEEN, APART, MARGIN = 4, 22, 20  # pixels between pictures of a cell, between cells, around all
TITLE, TEXT = 24, 18  # size of letters in pixels
LINE = 1.3  # height of a line, in sizes of its letters
BLACK, GREY, WHITE = (20, 20, 20), (90, 90, 90), (255, 255, 255)
DOT = "  ·  "  # between words that belong to different things


class Cell(NamedTuple):
    """Pictures of one sample, side by side.

    Args:
        pictures: RGB.
        name: of the sample.
        words: on what was done to it, one string for each.
        classes: that are seen in it; the ignore index where pixels are ignored.
    """

    pictures: Sequence[Picture]
    name: str
    words: Sequence[str] = ()
    classes: frozenset[int] = frozenset()


class Swatch(NamedTuple):
    """An entry of the legend: a small picture and what it stands for."""

    picture: Picture
    name: str


class Sheet(NamedTuple):
    """What is drawn.

    Args:
        title: one line; may be empty.
        heads: above the columns of pictures, from left to right; one for each picture of a row of cells.
        rows: of cells.
        legend: of all.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    legend: Sequence[Swatch] = ()


def draw_sheet(sheet: Sheet, side: int) -> Picture:
    """Draw a sheet.

    Args:
        sheet: what is drawn.
        side: width in pixels that a picture has; narrower ones lie in the middle of it.
    """
    number = max(len(cell.pictures) for row in sheet.rows for cell in row)
    cell_width = number * (side + BETWEEN) - BETWEEN
    inner = max(map(len, sheet.rows)) * (cell_width + APART) - APART
    pieces = [_lines([clip(sheet.title, inner, TITLE)], inner, TITLE)] if sheet.title else []
    pieces += [_legend(sheet.legend, inner)] if sheet.legend else []
    pieces.append(_heads(sheet.heads, side, number, inner))
    for row in sheet.rows:
        pieces.append(_beside([_cell(cell, side, cell_width) for cell in row], APART, inner))
    return np.pad(_below(pieces), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def wrap(words: Iterable[str], width: int, size: int = TEXT) -> list[str]:
    """Words as lines no wider than that many pixels; a line begins with a new one rather than in the middle of one."""
    lines: list[str] = []
    for word in words:
        if lines and _width(f"{lines[-1]}{DOT}{word}", size) <= width:
            lines[-1] += f"{DOT}{word}"
        else:
            lines += _broken(word, width, size)
    return lines


def _broken(text: str, width: int, size: int) -> list[str]:
    """A text of its own, broken at spaces, else anywhere."""
    lines: list[str] = [""]
    for part in text.split(" "):
        joined = f"{lines[-1]} {part}".lstrip()
        if _width(joined, size) <= width:
            lines[-1] = joined
            continue
        lines += [part] if lines[-1] else []
        lines[-1] = part
        while len(lines[-1]) > 1 and _width(lines[-1], size) > width:
            rest = lines.pop()
            start = _longest([rest[:length] for length in range(1, len(rest))], width, size)
            lines += [start, rest[len(start) :]]
    return lines


def clip(text: str, width: int, size: int = TEXT) -> str:
    """A text that is no wider than so many pixels; what is left out of its middle is shown by dots."""
    if _width(text, size) <= width:
        return text
    halves = [(kept - kept // 2, len(text) - kept // 2) for kept in range(1, len(text))]
    return _longest([f"{text[:start]}...{text[end:]}" for start, end in halves], width, size)


def _longest(texts: Sequence[str], width: int, size: int) -> str:
    """The last that is no wider than so many pixels; the first where none is."""
    return next((text for text in reversed(texts) if _width(text, size) <= width), texts[0])


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _lines(texts: Sequence[str], width: int, size: int = TEXT, first: Color = BLACK, rest: Color = GREY) -> Picture:
    """Lines of text below each other."""
    step = round(size * LINE)
    canvas = Image.new("RGB", (width, step * len(texts)), WHITE)
    drawing = ImageDraw.Draw(canvas)
    for place, text in enumerate(texts):
        drawing.text((0, place * step), text, fill=rest if place else first, font=_font(size))
    return np.asarray(canvas)


def _cell(cell: Cell, side: int, width: int) -> Picture:
    height = max(picture.shape[0] for picture in cell.pictures)
    framed = [_framed(picture, height, side) for picture in cell.pictures]
    name, words = clip(cell.name, width), wrap(cell.words, width)
    texts = [_lines([name, *words], width) if name else _lines(words, width, first=GREY)] if name or words else []
    return _below([_beside(framed, BETWEEN, width), *texts])


def _framed(picture: Picture, height: int, width: int) -> Picture:
    """In the middle of a white ground."""
    rows, columns = height - picture.shape[0], width - picture.shape[1]
    around = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return np.pad(picture, around, constant_values=255)


def _heads(heads: Sequence[str], side: int, number: int, width: int) -> Picture:
    """One above each picture of a row."""
    tall = [wrap([head], side) for head in heads]
    lines = max(map(len, tall))
    pictures = [_lines([*head, *[""] * (lines - len(head))], side, rest=BLACK) for head in tall]
    cells = [_beside(pictures[i : i + number], BETWEEN, 0) for i in range(0, len(pictures), number)]
    return _beside(cells, APART, width)


def _legend(swatches: Sequence[Swatch], width: int) -> Picture:
    """As many beside each other as fit."""
    rows: list[list[Picture]] = [[]]
    for swatch in swatches:
        name = clip(swatch.name, width // 4)
        text = _lines([name], round(_width(name, TEXT)) + 1)
        entry = _beside([_framed(swatch.picture, text.shape[0], swatch.picture.shape[1]), text], 2 * BETWEEN, 0)
        if rows[-1] and sum(one.shape[1] + APART for one in rows[-1]) + entry.shape[1] > width:
            rows.append([])
        rows[-1].append(entry)
    return _below([_beside(row, APART, width) for row in rows])


def _beside(pictures: Sequence[Picture], gap: int, width: int) -> Picture:
    """From left to right at their tops, on white, at least so wide."""
    height = max(picture.shape[0] for picture in pictures)
    parts = [
        np.pad(p, ((0, height - p.shape[0]), (0, gap if place < len(pictures) - 1 else 0), (0, 0)), constant_values=255)
        for place, p in enumerate(pictures)
    ]
    whole = np.concatenate(parts, axis=1)
    return np.pad(whole, ((0, 0), (0, max(0, width - whole.shape[1])), (0, 0)), constant_values=255)


def _below(pictures: Sequence[Picture]) -> Picture:
    """Equally wide, from top to bottom with a little room."""
    return np.concatenate([np.pad(p, ((0, 8), (0, 0), (0, 0)), constant_values=255) for p in pictures])
