"""How fast batchgen is, beside scripts as people write them: `python -m tests.benchmarks`.

Everything runs against the project's own sandbox, on this computer, for pretend money.
"""

import sys
from pathlib import Path

# For sandbox_client.py: `python -m tests.benchmarks` puts only the checkout on the path.
sys.path.append(str(Path(__file__).parents[1]))
