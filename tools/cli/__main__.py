"""`python -m tools.cli`: the same as `shim`."""

import sys

from tools.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
