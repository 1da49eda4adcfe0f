"""The person's own configuration: config.toml, and what each setting is and where it came from.

Promise: a file that anybody else can write to is not obeyed, since it says whom the person trusts,
and what is wrong in it is an error with its line.

May import: core.
"""
