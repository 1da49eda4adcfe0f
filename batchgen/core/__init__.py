"""Values and rules that every folder shares: states, rows, identity, budget, units, text.

Promise: everything here is pure, without I/O, clock or randomness.

May import: nothing but errors.
"""
