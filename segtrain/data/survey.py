"""What a look at every file of a folder found, before it is known what their ids mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrain.data.facts import mixed
from segtrain.data.finding import Found
from segtrain.data.listing import Listing


@dataclass(frozen=True)
class Survey:
    """What the files are: each item with what was found in it, and all that is wrong.

    Args:
        root: the folder.
        listing: of the layout.
        found: each item with its finding, in the listing's order, faulty ones included.
    """

    root: Path
    listing: Listing
    found: Sequence[Found]

    @property
    def faults(self) -> list[str]:
        """A sentence for each thing that is wrong with the files."""
        faulty = [finding.fault for _, finding in self.found if finding.fault]
        return [*self.listing.faults, *faulty, *(sentence for _, sentence in mixed(self.sound))]

    @property
    def sound(self) -> list[Found]:
        """The items that can be used."""
        return [(item, finding) for item, finding in self.found if not finding.fault]
