"""`python -m shim.cli`: the same as `shim`."""

import sys

from shim.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
