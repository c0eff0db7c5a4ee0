"""`python train.py key=value ...` is `segtrain train key=value ...`; see `python train.py --help`."""

import sys

from segtrain.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
