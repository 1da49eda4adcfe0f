"""A run of a batch in a database whose list other machines have: `batchgen work`."""
