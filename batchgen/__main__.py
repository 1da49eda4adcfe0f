"""`python -m batchgen`, and the `batchgen` command."""

from batchgen.cli.main import main

if __name__ == "__main__":
    main()
