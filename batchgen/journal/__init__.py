"""What happened to every row: batch.db, and the receipts beside it.

Promise: a change of state and its event are one transaction, durable before anybody acts on it;
all SQL of the program is here.

May import: core.
"""
