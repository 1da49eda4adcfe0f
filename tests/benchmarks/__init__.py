"""How fast batchgen is, beside scripts as people write them: `python -m tests.benchmarks`.

Everything runs against the project's own sandbox, on this computer, for pretend money.
"""
