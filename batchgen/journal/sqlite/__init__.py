"""The journal in a file of the folder, batch.db: how it is opened, checked, written and read."""
