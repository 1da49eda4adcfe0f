"""How long a run waits, and how often it tries: every time-out, patience and back-off in one value.

It is handed in from the outside, so that a test can make an hour short; no module has a constant of
this kind. It stands in core, not in the engine, since connections and downloads need it as well.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, unless the name says otherwise.

    submit_read: without a byte of the answer to a paid POST, before it counts as lost. It is long,
        since each lost answer makes a row unknown, and shorter than the 90 s after which systemd
        kills a service. Source: docs/maintainers/specification.md, "Sending once".
    submit_total: of the whole answer to a paid POST, from its body on; what a body takes at
        submit_bytes_per_s comes on top.
    query_*, download_*: of questions about requests, and of outputs. The pool wait includes the
        wait for a free connection. The headers have both waits together.
    query_grace, download_grace: from then on a body has to move at …_bytes_per_s at least; in
        …_total it has to be whole.
    catalogue_total: of all pages of a list of models.
    drain: after SIGTERM or SIGHUP, for the answers of open submissions; then they count as lost.
    download_tries: of a file whose download breaks off, before it is left to the next run.
    file_check: of a download by another process, which is killed then.
    store_request: of one request to an object store: a part of a file of 8 MiB. store_retrying: of
        that and what follows an answer of "later". store_tries: of all that, where none comes.
    busy: while another program holds the journal, before a transaction gives up.
    commit_tries: of the commit that keeps a request_id, of `busy` seconds each.
    database_statement: of one statement in PostgreSQL. database_idle: of a client between two
        statements of a transaction; then the server ends it. database_read: of what is read again
        where the database does not answer. database_away: without an answer of the database, before
        what waits to be written is given up. claim: from the record of a paid submission to its
        first byte, where that has to wait or other machines may have taken the row over.
    database_turn: as database_idle, of a run under way, whose locks other machines wait for.
    machine_look: between two looks at the other machines of a batch, and two signs of life.
    machine_gone: without a sign of a machine whose session has ended, before its rows are let go.
        machine_lease: of one whose session stands, as of a computer that sleeps.
    machine_start: for another machine that reads the list in. machine_first: for the first row of
        a model that another machine has and has not sent.
    backoff_first, backoff_max: the longest wait after the first failure in a row, and after many.
    missing_limit: for a result or a file that is said not to exist, in one run.
    max_polling: of asking about one request, in one run; it is asked again in the next.
    offline_limit: without any answer of the API, before the run gives up.
    ping: of a monitor's ping, with all of its tries.
    on_finish, notify: of the command and of the messages at the end of a run; then they are killed.
    leaving: of each of these after a signal, whose sender does not wait long.
    command_look: between two looks for what a person asks of the run by another command.
    command_wait: of that command, for the run to take it.
    closing: without any work of the process once everything is collected, before it is ended.
    """

    connect: float = 10.0
    submit_read: float = 75.0
    submit_total: float = 85.0
    submit_bytes_per_s: int = 4096
    query_pool: float = 60.0
    query_read: float = 30.0
    query_grace: float = 60.0
    query_bytes_per_s: int = 8192
    query_total: float = 900.0
    catalogue_total: float = 300.0
    download_pool: float = 60.0
    download_read: float = 30.0
    download_grace: float = 60.0
    download_bytes_per_s: int = 1024
    download_total: float = 6 * 3600.0
    download_tries: int = 5
    file_check: float = 300.0
    store_request: float = 180.0
    store_retrying: float = 120.0
    store_tries: int = 2
    drain: float = 75.0
    busy: float = 10.0
    commit_tries: int = 7
    database_statement: float = 120.0
    database_idle: float = 120.0
    database_read: float = 10.0
    database_away: float = 120.0
    claim: float = 2.0
    database_turn: float = 5.0
    machine_look: float = 1.0
    machine_gone: float = 5.0
    machine_lease: float = 30.0
    machine_start: float = 120.0
    machine_first: float = 30.0
    backoff_first: float = 0.5
    backoff_max: float = 60.0
    missing_limit: float = 300.0
    max_polling: float = 3600.0
    offline_limit: float = 6 * 3600.0
    ping: float = 10.0
    on_finish: float = 60.0
    notify: float = 30.0
    leaving: float = 5.0
    command_look: float = 1.0
    command_wait: float = 5.0
    closing: float = 60.0
    probe_step: float = 10.0
    probe_total: float = 30.0


DEFAULT_TIMING = Timing()
