"""Trains what the front page shows, prints the rows of its table and renews its picture.

    python scripts/front_page.py [folder of the nuclei data set]

Takes about 7 minutes on two cores; the figures belong to the machine that they were measured on.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import segtrain
from segtrain.runs import Run

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "predictions.png"


def row(run: Run, command: str) -> str:
    """One row of the table: command, test IoU and Dice, minutes."""
    test, minutes = run.summary["test"], run.summary["seconds"] / 60
    return f"| `{command}` | IoU {test['iou']:.3f}, Dice {test['dice']:.3f} | {minutes:.1f} min |"


def main(nuclei: str | None) -> None:
    """Train the default, and nuclei where they are given."""
    with tempfile.TemporaryDirectory() as folder:
        output = f"output_dir={folder}"
        default = segtrain.train([output])
        shutil.copyfile(default.folder / "plots" / "predictions.png", PICTURE)
        rows = [row(default, "python train.py")]
        if nuclei is not None:
            settings = ["data=folder", f"data.root={nuclei}", "loss=dice_bce", "aug=light"]
            rows.append(row(segtrain.train([*settings, output]), f"python train.py {' '.join(settings)}"))
    print("\n".join(rows))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
