"""Whether tonight's run will go well: what it needs is tried, judged and told with a remedy.

Promise: nothing is paid for, and nothing is written into a batch or to its journal. Probes act and
judge nothing; judges are pure.

May import: schedule, operations, notify, configuration, engine, api, journal, network, core.
"""
