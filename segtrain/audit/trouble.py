"""Something wrong or suspicious in a data set, and what its sentence says: of which kind it is, what mends it.

A sentence is `FILE: what; remedy`. Those of one kind fall together by their words, so that a reader or layout need
not say of which kind its own are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

HEADINGS = (  # of sentences that say little without their numbers
    ("but its image has", "mask of another size than its image"),
    ("but most images have", "images of different channels or depth"),
    ("pixels, but it has", "labels of another size than their image"),
    ("pixels, more than", "too many pixels"),
    ("beyond the range", "values beyond the range"),
    ("stands already in", "the same twice"),
    ("fields, but the header has", "rows with more or fewer fields than the header"),
    ("not valid JSON", "not valid JSON"),
    ("none of the categories", "unknown category"),
    ("none of the images", "annotation of an unknown image"),
    ("at least 3 are needed", "a polygon of less than 3 points"),
    ("a box alone", "a box alone, which does not say which pixels"),
    ("name the folder with data.layout.images", "no such image"),
)
PLACE = re.compile(r"^((line|row|column|image|mask|annotation|object|shape) [^ :]+( \([^)]*\))?(, column \d+)?: )+")
WRONG = re.compile(r"^(\S+) must be .*\bgot ")
NAMES = re.compile(
    r"""('[^']*'|"[^"]*"|\S*/\S*|\b(?!data\.|task\.)[\w*-]+\.[A-Za-z]\w{1,4}\b|\b(?=\w*\d)(?=\w*[a-z])[0-9a-f]{6,}\b)"""
)
SETTING = re.compile(r"(?<![\w.])(?:data|task)(?:\.\w+)*=(?:'[^']*'|[^\s,;:()]+)")
SETTINGS = re.compile(rf"{SETTING.pattern}(?: {SETTING.pattern})*")


class Trouble(NamedTuple):
    """Something wrong or suspicious.

    kind: a few words, the same for all of its kind.
    text: a sentence with file and value.
    file: the one to leave out so that the rest can be used; None where that is no remedy.
    """

    kind: str
    text: str
    file: Path | None = None

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.text.partition("; ")[2]

    @property
    def settings(self) -> list[str]:
        """Each setting that mends it as it is written there; placeholders (ID, 'LOW,HIGH') are none."""
        found = (match.group().rstrip(".") for match in SETTINGS.finditer(self.remedy))
        return [words for words in found if not re.search(r"=\W*[A-Z]", words)]


def kind_of(sentence: str, root: Path) -> str:
    """What a sentence about a file says without files, numbers and remedy: "no mask", "ids are none of the classes"."""
    text = sentence.partition("; ")[0]
    text = re.sub(rf"^{re.escape(str(root))}.*?(: | (?=line \d))", "", text)
    text = PLACE.sub("", text)
    for words, heading in HEADINGS:
        if words in sentence:
            return heading
    if wrong := WRONG.match(text):
        return f"wrong {wrong[1]}"
    text = re.sub(rf"{re.escape(str(root))}.*", "", text)
    text = re.sub(r": \(\d.*", "", text)  # colours
    text = re.sub(r"\s*(\([^()]*(\([^()]*\)[^()]*)*\)|\[.*?\])", "", text)
    text = NAMES.sub("...", text)
    text = re.sub(r"\b\d[\d,.]*\b", "N", text)
    return re.sub(r"([\s,:]|\.\.\.|\b(in|of|as)$)+$", "", " ".join(text.split())).strip(" ,:")
