"""`python -m segtrain COMMAND` is `segtrain COMMAND`."""

import sys

from segtrain.cli import main

sys.exit(main())
