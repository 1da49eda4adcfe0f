"""What a list writes in place of texts: prompts that unfold into several, and ids of columns.

Promise: what a template stands for is counted before it is written out, and the same list gives the
same texts on every computer and in every version.

May import: core.
"""
