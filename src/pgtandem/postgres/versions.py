"""What differs between major versions, in one place each."""

#: The first and last major version that the rules know.
OLDEST, NEWEST = 10, 18

#: Settings whose value on a standby must not be below the primary's (manual, 26.4.3), or it stops.
STANDBY_FLOOR = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)


def untested(major: int) -> str:
    """A warning for a version that is newer than the rules, "" for those that they know."""
    if major <= NEWEST:
        return ""
    return (
        f"PostgreSQL {major} is newer than {NEWEST}, the newest that pgtandem was tested with; the settings and rules "
        f"of {NEWEST} are used for it"
    )


def has_slot_cap(major: int) -> bool:
    """max_slot_wal_keep_size came with 13."""
    return major >= 13


def has_standby_signal(major: int) -> bool:
    """recovery.conf became ordinary settings and standby.signal with 12."""
    return major >= 12


def ends_short_of_its_target(major: int) -> bool:
    """Whether a recovery that runs out of WAL ends as if it had reached its target. From 13 on the server stops."""
    return major < 13


def initdb_takes_verifier(major: int) -> bool:
    """Whether initdb reads a whole SCRAM verifier from --pwfile. Before 14 it takes the first 99 bytes of the line for
    a password, and a verifier is longer."""
    return major >= 14


def reloads_upstream(major: int) -> bool:
    """primary_conninfo and primary_slot_name are read again at a reload from 13 on, at a start before."""
    return major >= 13


def rewinds_by_role(major: int) -> bool:
    """From 11 on pg_rewind reads another server as a role that may execute four functions, before as a superuser."""
    return major >= 11


def promotes_by_function(major: int) -> bool:
    """pg_promote() came with 12."""
    return major >= 12


def has_sender_host(major: int) -> bool:
    """pg_stat_wal_receiver names the sender from 11 on."""
    return major >= 11


def keeps_wal_level(value: str) -> bool:
    """Whether a wal_level is enough for a standby."""
    return value in ("replica", "logical")


def has_init_sync_method(major: int) -> bool:
    """Whether a server that has to recover can be told to sync file systems and not file by file (manual, 19.15:
    recovery_init_sync_method)."""
    return major >= 14
