"""``python -m mg3d``: the command line, for launchers such as torchrun."""

import sys

from mg3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
