"""The journal in PostgreSQL: a schema for each batch, with the tables and views of batch.db.

What is asked of it and written to it is the same text for both, one folder up. Here is what
differs: connections, the lock, and what an error means. psycopg is an extra, and is imported where
it is needed.
"""
