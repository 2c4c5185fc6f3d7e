"""``python -m pellucid.anomalib``."""

import sys

from pellucid.anomalib.cli import main

if __name__ == "__main__":
    sys.exit(main())
