"""What `segtrain check` prints: what was found, what is wrong, what to train with."""

from __future__ import annotations

import io
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from segtrain.audit.components import has_background
from segtrain.console import listed

if TYPE_CHECKING:
    from segtrain.audit.check import Report
    from segtrain.audit.components import ClassFacts, Facts
    from segtrain.audit.diagnose import Advice
    from segtrain.audit.trouble import Trouble

MOST = 20  # troubles of one kind that are listed
WIDTH = 110


def screen(report: Report, advice: Sequence[Advice]) -> str:
    """The whole text, without what to type next."""
    parts = [found(report), troubles("error", report.errors), troubles("warning", report.warnings)]
    of = f"the {len(report.facts.sizes)} training images without errors" if report.facts and report.aside else ""
    return "\n\n".join(part for part in [*parts, diagnosis(advice, of)] if part)


def found(report: Report) -> str:
    """Images, sizes, ids and a table of the classes."""
    counts = ", ".join(f"{number} {split}" for split, number in report.counts.items()) or "no"
    without = f" without errors (of {sum(report.counts.values()) + report.aside})" if report.aside else ""
    lines = [f"{report.name}: {counts} images{without}"]
    if report.notes:
        lines[0] += f" ({'; '.join(report.notes)})"
    if report.meaning:
        lines.append(f"ids     {listed([f'{_ids(ids)} = {name}' for name, ids in report.meaning.items()], most=30)}")
    if report.facts is None:
        return "\n".join(lines)
    facts = report.facts
    lines += [
        f"train   {_sizes(facts)}, {facts.channels} channel{'s' * (facts.channels > 1)}",
        f"labels  {facts.task.mode}; {facts.labelled:.1%} of the pixels have one{_empty(facts)}",
        class_table(facts, report.meaning),
    ]
    return "\n".join(lines)


def _empty(facts: Facts) -> str:
    """How many images have no foreground; "" where no class is background."""
    if not has_background(facts.task):
        return ""
    return f"; {facts.empty} of {len(facts.sizes)} images ({facts.empty / len(facts.sizes):.1%}) have no foreground"


def class_table(facts: Facts, meaning: Mapping[str, Sequence[int]]) -> str:
    """A row for each class."""
    table = Table()
    for heading in (
        "id",
        "class",
        "pixels",
        "images",
        "without it",
        "objects",
        "area px: 10 %, 50 %, 90 %",
        "in crops",
    ):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for each, share in zip(facts.classes, facts.stats.share(), strict=True):
        table.add_row(_ids(meaning.get(each.name, [])), each.name, f"{share:.2%}", *_cells(each, len(facts.sizes)))
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    height, width = facts.crop
    return f"{text.getvalue()}in crops: share of all random crops of {height} x {width} that hold the class"


def _cells(each: ClassFacts, images: int) -> list[str]:
    areas = ", ".join(f"{area:,}" for area in each.areas) if each.objects else "-"
    shares = [f"{each.images / images:.1%}", f"{1 - each.images / images:.1%}"]
    return [*shares, f"{each.objects:,}", areas, f"{each.hit:.0%}"]


def _ids(ids: Sequence[int]) -> str:
    return ",".join(map(str, ids)) or "-"


def _sizes(facts: Facts) -> str:
    """Smallest and largest image, by area."""
    ordered = sorted(set(map(tuple, facts.sizes)), key=lambda size: size[0] * size[1])
    words = [f"{width} x {height}" for height, width in dict.fromkeys((ordered[0], ordered[-1]))]
    kinds = "" if len(ordered) < 3 else f" ({len(ordered)} sizes)"
    return f"{' to '.join(words)} pixels{kinds}"


def troubles(what: str, found: Sequence[Trouble]) -> str:
    """Errors or warnings by kind, at most MOST of each; a remedy that all of a kind share is said once."""
    if not found:
        return f"no {what}s"
    kinds: dict[str, list[Trouble]] = defaultdict(list)
    for trouble in found:
        kinds[trouble.kind].append(trouble)
    lines = [f"{len(found)} {what}{'s' * (len(found) > 1)}"]
    for kind, members in kinds.items():
        remedies = {trouble.remedy for trouble in members}
        shared = remedies.pop() if len(remedies) == 1 and len(members) > 1 else ""
        lines.append(f"  {kind}: {len(members)}{shared and '; '}{shared}")
        lines += [f"    {each.text.removesuffix(f'; {shared}') if shared else each.text}" for each in members[:MOST]]
        listed = "; exclude=bad.txt lists them all" if any(each.file for each in members) and what == "error" else ""
        lines += [f"    ... and {len(members) - MOST} more{listed}"] if len(members) > MOST else []
    return "\n".join(lines)


def diagnosis(advice: Sequence[Advice], of: str = "") -> str:
    """Each recommendation with its reason; `of` says what it is made from, where that is not all."""
    if not advice:
        return ""
    width = max(len(each.what) for each in advice)
    lines = ["diagnosis" + (of and f", from {of}")]
    for each in advice:
        lines.append(f"  {each.what:{width}}  {each.value}")
        lines += textwrap.wrap(
            each.reason, WIDTH, initial_indent=" " * (width + 6), subsequent_indent=" " * (width + 6)
        )
    return "\n".join(lines)
