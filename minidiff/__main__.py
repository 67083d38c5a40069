"""`python -m minidiff`, which is also the command `minidiff`. See `workshop.commands`."""

import sys

from minidiff.workshop.commands import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
