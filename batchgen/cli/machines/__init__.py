"""The command of a machine that has no list."""
