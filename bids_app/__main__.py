"""`python -m bids_app` and the `bids_app` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from bids_app.cli.main import run

    sys.exit(run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
