"""Several runs at once on one batch, whose journal is in a database: their rate, and each other."""
