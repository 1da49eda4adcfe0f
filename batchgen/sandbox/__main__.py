"""`python -m batchgen.sandbox`."""

import sys

from batchgen.cli_sandbox import sandbox
from batchgen.errors import BatchgenError

if __name__ == "__main__":
    try:
        sandbox(prog_name="python -m batchgen.sandbox")
    except BatchgenError as error:
        print(f"{error.what}\n{error.remedy}".rstrip(), file=sys.stderr)
        sys.exit(error.exit_code)
