"""How long a fuzzer runs: seconds among the other tests, and as long as it is told by hand.

FUZZ_EXAMPLES=200000 python -m pytest -n 2 tests/fuzz
"""

import os

from hypothesis import HealthCheck, settings

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    suppress_health_check=list(HealthCheck),
)
