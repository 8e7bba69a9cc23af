"""The second look at a server, which only `doctor` takes: the SQL, and its answer read into an Examination."""

from collections.abc import Mapping
from typing import Any

from pgtandem.model.examined import (
    DatabaseDetail,
    Examination,
    FileError,
    PreparedTransaction,
    RoleSetting,
    SlotDetail,
    StoredRole,
)
from pgtandem.postgres import scram
from pgtandem.postgres.versions import OLDEST

_LINES = """
SELECT json_agg(json_build_array(lower(name), sourcefile, sourceline)) FROM pg_settings WHERE sourcefile IS NOT NULL
"""

# `applied` is false for a line that a later one hides as well; only a line with an error is wrong. A setting that needs
# a restart is reported as an error since 11, and is told by pending_restart already.
_FILE_ERRORS = """
SELECT json_agg(json_build_object('file', sourcefile, 'line', sourceline, 'error', error))
FROM pg_file_settings WHERE error IS NOT NULL AND error NOT LIKE '%changed without restart%'
"""

_ROLES = """
SELECT json_agg(json_build_object(
    'name', rolname, 'superuser', rolsuper, 'replication', rolreplication, 'connection_limit', rolconnlimit,
    'expires_in_seconds', CASE WHEN isfinite(rolvaliduntil)
        THEN extract(epoch FROM rolvaliduntil - clock_timestamp()) END,
    'password', rolpassword))
FROM pg_authid WHERE rolcanlogin AND (rolreplication OR rolsuper OR rolpassword NOT LIKE 'SCRAM-SHA-256$%')
"""

_ROLE_SETTINGS = """
SELECT json_agg(json_build_object(
    'role', coalesce(rolname, ''), 'database', coalesce(datname, ''),
    'name', split_part(entry, '=', 1), 'value', substr(entry, position('=' IN entry) + 1)))
FROM pg_db_role_setting AS stored LEFT JOIN pg_authid ON pg_authid.oid = setrole
    LEFT JOIN pg_database ON pg_database.oid = setdatabase, unnest(setconfig) AS entry
"""

_SENDER_USERS = "SELECT json_object_agg(application_name, usename) FROM pg_stat_replication"

_PREPARED = """
SELECT json_agg(json_build_object('name', gid, 'age_seconds', extract(epoch FROM clock_timestamp() - prepared)))
FROM pg_prepared_xacts
"""

_WAITING = """
SELECT json_build_object('count', count(*),
    'seconds', coalesce(extract(epoch FROM clock_timestamp() - min(query_start)), 0))
FROM pg_stat_activity WHERE wait_event = 'SyncRep'
"""

# Names of extensions of the database postgres, which is the one that pgtandem connects to.
_EXTENSIONS = "SELECT json_agg(extname) FROM pg_extension"
# pg_available_extensions reads every control file, and one with a mistake fails the whole question. Where 18 looks in
# more places than the usual one, nothing is told; nor by 10, which reads no folder outside its own.
_AVAILABLE = """
SELECT json_agg(substr(file.name, 1, length(file.name) - 8))
FROM pg_config AS config, pg_ls_dir(config.setting || '/extension', true, false) AS file(name)
WHERE config.name = 'SHAREDIR' AND file.name LIKE '%.control'
    AND coalesce(current_setting('extension_control_path', true), '$system') = '$system'
"""


def _databases(major: int) -> str:
    failures = "statistics.checksum_failures" if major >= 12 else "NULL"
    recorded, actual = "NULL", "NULL"
    if major >= 15:
        recorded, actual = "datcollversion", "pg_database_collation_actual_version(database.oid)"
    # An init fork marks what is not logged, in databases that nobody is connected to as well.
    return f"""
SELECT json_agg(json_build_object(
    'name', database.datname,
    'conflicts', CASE WHEN pg_is_in_recovery() THEN statistics.conflicts ELSE 0 END,
    'checksum_failures', {failures}, 'collation_recorded', {recorded}, 'collation_actual', {actual},
    'unlogged_files', (SELECT count(*) FROM pg_ls_dir('base/' || database.oid, true, false) AS file(name)
                       WHERE file.name ~ '^[0-9]+_init$')))
FROM pg_database AS database JOIN pg_stat_database AS statistics ON statistics.datid = database.oid
WHERE database.datallowconn
"""


def _slots(major: int) -> str:
    failover = "'failover', failover, 'synced', synced" if major >= 17 else "'failover', NULL, 'synced', NULL"
    return f"""
SELECT json_agg(json_build_object('name', slot_name, 'xmin_age', age(xmin), 'catalog_xmin_age', age(catalog_xmin),
                                  {failover}))
FROM pg_replication_slots
"""


def examine(major: int) -> str:
    """One statement that returns one document. Works on a primary and on a hot standby, as superuser.

    Raises ValueError for a major that is too old.
    """
    if major < OLDEST:
        raise ValueError(f"PostgreSQL {major} is older than {OLDEST}")
    backup = "pg_is_in_backup()" if major < 15 else "false"
    # In recovery age() of a transaction id cannot be told (it needs the next one).
    return f"""
SELECT json_build_object(
    'lines', ({_LINES}), 'file_errors', ({_FILE_ERRORS}), 'roles', ({_ROLES}), 'role_settings', ({_ROLE_SETTINGS}),
    'sender_users', ({_SENDER_USERS}), 'slots', CASE WHEN NOT pg_is_in_recovery() THEN ({_slots(major)})
        ELSE ({_slots(major).replace("age(xmin)", "NULL").replace("age(catalog_xmin)", "NULL")}) END,
    'databases', ({_databases(major)}),
    'prepared', CASE WHEN NOT pg_is_in_recovery() THEN ({_PREPARED}) END, 'waiting', ({_WAITING}),
    'feedback_age', CASE WHEN NOT pg_is_in_recovery()
        THEN (SELECT max(age(backend_xmin)) FROM pg_stat_replication) END,
    'checkpoint_timeline', (SELECT timeline_id FROM pg_control_checkpoint()),
    'exclusive_backup', {backup},
    'extensions', ({_EXTENSIONS}), 'available_extensions', {f"({_AVAILABLE})" if major >= 11 else "NULL"})
"""


def parse_examination(document: Mapping[str, Any]) -> Examination:
    """What the server answered."""
    waiting = document["waiting"]
    return Examination(
        lines={name: (file, line) for name, file, line in document["lines"] or ()},
        file_errors=tuple(FileError(**row) for row in document["file_errors"] or ()),
        roles={row["name"]: _role(row) for row in document["roles"] or ()},
        role_settings=tuple(RoleSetting(**row) for row in document["role_settings"] or ()),
        sender_users=document["sender_users"] or {},
        slots={row["name"]: SlotDetail(**row) for row in document["slots"] or ()},
        databases={row["name"]: DatabaseDetail(**row) for row in document["databases"] or ()},
        prepared=tuple(
            PreparedTransaction(row["name"], float(row["age_seconds"])) for row in document["prepared"] or ()
        ),
        waiting_commits=waiting["count"],
        waiting_seconds=float(waiting["seconds"]),
        feedback_age=document["feedback_age"],
        checkpoint_timeline=document["checkpoint_timeline"],
        exclusive_backup=bool(document["exclusive_backup"]),
        extensions=tuple(document["extensions"] or ()),
        available_extensions=tuple(document["available_extensions"] or ()),
    )


def _role(row: Mapping[str, Any]) -> StoredRole:
    expires = row["expires_in_seconds"]
    return StoredRole(
        name=row["name"],
        superuser=row["superuser"],
        replication=row["replication"],
        connection_limit=row["connection_limit"],
        expires_in_seconds=None if expires is None else float(expires),
        password_kind=scram.stored_kind(row["password"]),
    )
