"""`python -m convergence` is `cdp`."""

import sys

from convergence.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
