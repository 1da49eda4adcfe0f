"""The hardware of instances and its price. Pure.

Source: RunComfy's public documentation, "About billing"; docs/maintainers/wire.md.
"""

from collections.abc import Mapping

# Without a subscription.
USD_PER_HOUR: Mapping[str, float] = {
    "TURING_16": 0.99,
    "AMPERE_24": 1.75,
    "AMPERE_48": 2.50,
    "ADA_48_PLUS": 2.99,
    "AMPERE_80": 4.99,
    "ADA_80_PLUS": 7.49,
    "HOPPER_141": 8.75,
}
USUAL_HARDWARE = "AMPERE_48"
