"""What is told of the numbers of a batch."""

import pytest

from batchgen.report.summary_text import estimated


@pytest.mark.parametrize(
    ("least", "most", "told"),
    [
        (None, None, "at the price that you said"),
        (0.021, 0.024, "at the price that you said; a request came to $0.02"),
        (0.004, 1.2, "at the price that you said; a request came to $0.004 to $1.20"),
    ],
)
def test_an_estimate_is_told_with_its_spread(least, most, told):
    sums = {"estimated_least": least, "estimated_most": most}

    assert estimated(sums) == f"deployments by an estimate: their seconds, {told}"
