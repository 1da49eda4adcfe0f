"""`python -m batchgen`, and the `batchgen` command."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it silently, also while it is being imported."""
    try:
        from batchgen.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
