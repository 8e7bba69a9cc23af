"""The SQL that pgtandem sends, for servers of major version 10 to 18, as texts.

What is asked comes back as JSON documents, which `server_document` reads, so that one look costs one round
trip. Placeholders are psycopg's: `%s` for values, `{name}` for identifiers and for literals that a utility
statement cannot take as parameters. Every name is that of pg_catalog: the session's search_path holds nothing
else.
"""

from collections.abc import Mapping

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.names import REPLICATION_ROLE, REWIND_ROLE, SUPERUSER
from pgtandem.postgres.conf import SETTINGS_FILE
from pgtandem.postgres.segments import segment_name
from pgtandem.postgres.versions import OLDEST, has_sender_host, has_standby_signal

_SESSION_SETTINGS = {
    "synchronous_commit": "local",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "search_path": "pg_catalog",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "lc_messages": "C",
}


def session_settings(major: int) -> Mapping[str, str]:
    """What a session sets for itself, so that no setting makes a change wait for a synchronous standby, or stops it,
    or ends the session while it waits for its next call.

    By SET and not with the connection: only then the server still knows, and `observe` can show, what each would be
    without that.
    """
    settings = dict(_SESSION_SETTINGS)
    if major >= 14:
        settings["idle_session_timeout"] = "0"
    if major >= 17:
        settings["transaction_timeout"] = "0"
    return settings


def prepare_session(major: int) -> str:
    """Statements that a new session begins with."""
    own = "; ".join(f"SET {name} = '{value}'" for name, value in session_settings(major).items())
    return f"SET ROLE NONE; {own}"  # the superuser's own settings (ALTER ROLE) may name a role


#: Whether there is a database of that name, and it lets sessions in.
HAS_DATABASE = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s AND datallowconn"

#: Classes of SQLSTATE (manual, appendix A) that a server answers with because of what it was asked: not supported, no
#: such schema, syntax and names, too complex.
_OF_THE_QUERY = ("0A", "3F", "42", "54")
#: What it says of a constant that cannot be, if it says so while it only reads.
_OF_A_CONSTANT = "22"
SYNTAX_ERROR = "42601"


def begin_reading(major: int) -> str:
    """Begins a transaction that may only read, in which what a session of pgtandem has for itself does not hold."""
    without_ours = "; ".join(f"SET LOCAL {name} TO DEFAULT" for name in session_settings(major))
    return f"BEGIN READ ONLY; {without_ours}; SET LOCAL lock_timeout = '500ms'"


def blames_the_query(sqlstate: str | None, *, was_read: bool = False) -> bool:
    """Whether a server that refused a query says that the query itself is wrong; `was_read` where it was to read it
    only, so that no row can be the reason."""
    classes = (*_OF_THE_QUERY, _OF_A_CONSTANT) if was_read else _OF_THE_QUERY
    return sqlstate is not None and sqlstate[:2] in classes


def observe(major: int) -> str:
    """Statements of one round trip that return two documents: the settings, then everything else of a server.

    Works on a primary and on a hot standby, as superuser. Between a look at pg_is_in_recovery() and what is
    asked because of it a server may be promoted: it then answers with SQLSTATE 55000, and asking again is right.
    Raises ValueError for a major that is too old.
    """
    if major < OLDEST:
        raise ValueError(f"PostgreSQL {major} is older than {OLDEST}")
    without_ours = "; ".join(f"SET LOCAL {name} TO DEFAULT" for name in session_settings(major))
    return f"BEGIN; {without_ours}; {_SETTINGS}; ROLLBACK; {_document(major)}"


# What ALTER ROLE or ALTER DATABASE sets for our own sessions hides the server's value, which no session can then show.
# It is what the files said when they were read last, as long as none of them was written since (their times are in
# whole seconds, rounded down; a time to come tells nothing). Where a mistake keeps all of them from being read, or one
# was written since, the value is not known.
_SETTINGS = """
SELECT json_agg(json_build_array(name, setting, source, sourcefile, pending_restart,
    CASE WHEN source IN ('database', 'user', 'database user') THEN (
        SELECT json_build_array(
            (SELECT bool_or(applied) FROM pg_file_settings)
            AND (SELECT bool_and(written <= pg_conf_load_time() OR written > clock_timestamp())
                 FROM (SELECT DISTINCT sourcefile FROM pg_file_settings WHERE sourcefile IS NOT NULL) AS file,
                      LATERAL (SELECT modification FROM pg_stat_file(file.sourcefile, true)) AS stat(written)),
            (SELECT json_build_array(line.setting, line.sourcefile) FROM pg_file_settings AS line
             WHERE lower(line.name) = lower(shown.name) AND line.applied ORDER BY seqno DESC LIMIT 1),
            boot_val))
    END))
FROM pg_settings AS shown
"""

# The replay position is read before the receive position: both only grow, so equal means caught up.
_HERE = """
SELECT state.in_recovery,
       CASE WHEN NOT state.in_recovery THEN pg_current_wal_lsn() END AS current_lsn,
       CASE WHEN state.in_recovery THEN pg_last_wal_replay_lsn() END AS replay_lsn,
       CASE WHEN state.in_recovery THEN pg_last_wal_receive_lsn() END AS receive_lsn
FROM (SELECT pg_is_in_recovery() AS in_recovery OFFSET 0) AS state
"""

# A primary's timeline is that which it writes: right after a promotion the control file still has the old one.
# In recovery no function tells it; each of these says which timeline was reached at least, and the last one, the
# newest timeline of which there is the segment that is being replayed, is exact.
_STANDBY_TIMELINE = """
SELECT greatest(point.timeline_id, recovery.min_recovery_end_timeline,
                (SELECT max(received_tli) FROM pg_stat_wal_receiver),
                (SELECT max(('x' || substr(file.name, 1, 8))::bit(32)::int) FROM pg_ls_dir('pg_wal') AS file(name)
                 WHERE file.name ~ '^[0-9A-F]{24}$' AND substr(file.name, 9) = upper(
                     lpad(to_hex(segment.number / segment.per_log), 8, '0')
                     || lpad(to_hex(segment.number % segment.per_log), 8, '0'))))
FROM pg_control_checkpoint() AS point, pg_control_recovery() AS recovery,
     LATERAL (SELECT div(here.replay_lsn - '0/1'::pg_lsn, bytes_per_wal_segment)::bigint AS number,
                     4294967296 / bytes_per_wal_segment AS per_log FROM pg_control_init()) AS segment
"""

_HBA = """
SELECT json_agg(json_build_object(
    'line', line_number, 'kind', type, 'databases', database, 'users', user_name,
    'address', address, 'netmask', netmask, 'method', auth_method, 'error', error))
FROM pg_hba_file_rules
"""

_ROLES = f"""
SELECT json_agg(json_build_object(
    'name', rolname, 'superuser', rolsuper, 'replication', rolreplication, 'login', rolcanlogin,
    'connection_limit', rolconnlimit, 'password', rolpassword,
    'expired', coalesce(rolvaliduntil <= clock_timestamp(), false)))
FROM pg_authid
WHERE rolname IN ('{REPLICATION_ROLE}', '{REWIND_ROLE}', '{SUPERUSER}') OR (rolreplication AND rolcanlogin)
"""

_SENDERS = """
SELECT json_agg(json_build_object(
    'application_name', application_name, 'pid', pid, 'client_address', host(client_addr),
    'user', usename, 'state', state, 'sync_state', sync_state, 'encrypted', ssl,
    'sent_lsn', sent_lsn, 'write_lsn', write_lsn, 'flush_lsn', flush_lsn, 'replay_lsn', replay_lsn,
    'write_lag_seconds', extract(epoch FROM write_lag), 'flush_lag_seconds', extract(epoch FROM flush_lag),
    'replay_lag_seconds', extract(epoch FROM replay_lag)) ORDER BY application_name, pid)
FROM pg_stat_replication LEFT JOIN pg_stat_ssl USING (pid)
"""

# pg_ls_dir and not pg_ls_archive_statusdir (12): it does not look at each of what may be 100,000 files. Where nothing
# waits, or was archived meanwhile, no file is there: greatest() alone would take the server's start for its age.
_ARCHIVER = """
SELECT json_build_object(
    'archived_count', archived_count, 'failed_count', failed_count,
    'last_archived_wal', last_archived_wal, 'last_failed_wal', last_failed_wal,
    'last_archived_age_seconds', extract(epoch FROM clock_timestamp() - last_archived_time),
    'last_failed_age_seconds', extract(epoch FROM clock_timestamp() - last_failed_time),
    'last_archived_ready', (
        SELECT extract(epoch FROM modification)
        FROM pg_stat_file('pg_wal/archive_status/' || last_archived_wal || '.done', true)),
    'waiting_segments', waiting.files, 'waiting_wal', left(waiting.first, -6),
    'waiting_age_seconds', CASE WHEN NOT pg_is_in_recovery() THEN (
        SELECT extract(epoch FROM clock_timestamp() - greatest(modification, pg_postmaster_start_time()))
        FROM pg_stat_file('pg_wal/archive_status/' || waiting.first, true) WHERE modification IS NOT NULL) END,
    'running_seconds', (SELECT extract(epoch FROM clock_timestamp() - max(backend_start))
                        FROM pg_stat_activity WHERE backend_type = 'archiver'))
FROM pg_stat_archiver, (
    SELECT count(*) AS files, min(file.name) AS first FROM pg_ls_dir('pg_wal/archive_status', true, false) AS file(name)
    WHERE file.name LIKE '%.ready') AS waiting
"""


def _libc_locales(major: int) -> str:
    # "C" and its kin compare bytes: no version of the C library changes them.
    of_libc = "datlocprovider = 'c'" if major >= 15 else "true"
    return f"""
SELECT json_agg(DISTINCT datcollate) FROM pg_database
WHERE {of_libc} AND datcollate NOT IN ('C', 'POSIX') AND datcollate NOT LIKE 'C.%'
"""


# A tablespace whose folder is gone is left out: the functions fail of a link that is not there.
_TABLESPACES = """
SELECT json_object_agg(place, bytes) FROM (SELECT
    CASE WHEN (pg_stat_file('pg_tblspc/' || oid, true)).isdir THEN pg_tablespace_location(oid) END AS place,
    CASE WHEN (pg_stat_file('pg_tblspc/' || oid, true)).isdir THEN pg_tablespace_size(oid) END AS bytes
    FROM pg_tablespace WHERE oid >= 16384) AS spaces WHERE bytes IS NOT NULL"""

# Of the names alone: the last 16 digits count up over all timelines. What was prepared ahead has higher ones.
_OLDEST_WAL = """
SELECT json_build_object('name', min(substr(file.name, 9)), 'segment_bytes', min(control.bytes_per_wal_segment))
FROM pg_ls_dir('pg_wal', true, false) AS file(name), pg_control_init() AS control
WHERE length(file.name) = 24 AND file.name !~ '[^0-9A-F]'
"""


def _slots(major: int) -> str:
    wal_status = "wal_status" if major >= 13 else "NULL"
    return f"""
SELECT json_agg(json_build_object(
    'name', slot_name, 'kind', slot_type, 'active', active, 'active_pid', active_pid, 'restart_lsn', restart_lsn,
    'wal_status', {wal_status},
    'held_bytes', greatest(0, pg_wal_lsn_diff(
        coalesce(here.current_lsn, greatest(here.receive_lsn, here.replay_lsn)), restart_lsn))) ORDER BY slot_name)
FROM pg_replication_slots
"""


def _receiver(major: int) -> str:
    # 10 has no columns for the upstream, but shows the connection's parameters, unquoted and without the password.
    in_conninfo = "substring(conninfo FROM '(?:^| ){}=([^ ]+)')"
    host = "sender_host" if has_sender_host(major) else in_conninfo.format("host")
    port = "sender_port" if has_sender_host(major) else in_conninfo.format("port") + "::int"
    return f"""
SELECT json_build_object('status', status, 'sender_host', {host}, 'sender_port', {port},
                         'slot', slot_name, 'received_timeline', received_tli)
FROM pg_stat_wal_receiver LIMIT 1
"""


# While it connects, pg_stat_wal_receiver has no row for it.
_RECEIVER_PID = "SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'walreceiver'"


# The file's time is in whole seconds, rounded down: a file that was there before the start is never taken for a newer
# one, and one that was written in the very second of the start, after it, is not noticed.
_RECOVERY_UNREAD = """
SELECT modification > pg_postmaster_start_time() FROM pg_stat_file('recovery.conf', true)
"""


# Replay that waits for recovery_min_apply_delay.
_DELAYING = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'RecoveryApplyDelay')"


# Who keeps replay waiting. For rows that a query may still see, that is the oldest snapshot (up to 13 no wait event
# tells that replay waits for one); for a lock, who has it. pg_blocking_pids knows nothing of the startup process.
_REPLAY_HOLD = """
SELECT json_build_object(
    'pid', holder.pid, 'user', holder.usename, 'application_name', holder.application_name,
    'transaction_seconds', extract(epoch FROM clock_timestamp() - coalesce(holder.xact_start, holder.backend_start)),
    'waits_for', CASE WHEN startup.wait_event_type = 'Lock' THEN 'lock'
        WHEN startup.wait_event_type = 'BufferPin' THEN 'pin' ELSE 'snapshot' END)
FROM pg_stat_activity AS startup, pg_stat_activity AS holder
WHERE startup.backend_type = 'startup' AND holder.pid <> startup.pid AND holder.backend_type = 'client backend'
  AND CASE WHEN startup.wait_event_type = 'Lock' THEN holder.pid IN (
          SELECT held.pid FROM pg_locks AS held JOIN pg_locks AS wanted USING (locktype)
          WHERE wanted.pid = startup.pid AND NOT wanted.granted AND held.granted
            AND held.database IS NOT DISTINCT FROM wanted.database
            AND held.relation IS NOT DISTINCT FROM wanted.relation
            AND held.objid IS NOT DISTINCT FROM wanted.objid)
      WHEN startup.wait_event IN ('RecoveryConflictSnapshot', 'RecoveryConflictTablespace')
          OR startup.wait_event_type = 'BufferPin' THEN holder.backend_xmin IS NOT NULL
      ELSE false END
ORDER BY holder.xact_start LIMIT 1
"""


# Of each timeline where the summaries of WAL begin: those before are gone, or were never made here.
_SUMMARIZED = """
CASE WHEN current_setting('summarize_wal')::bool THEN (
    SELECT coalesce(json_object_agg(tli, begins), '{}') FROM (
        SELECT tli, min(start_lsn) AS begins FROM pg_available_wal_summaries() GROUP BY tli) AS known)
END"""


def _document(major: int) -> str:
    unread = "NULL" if has_standby_signal(major) else f"({_RECOVERY_UNREAD})"
    return f"""
WITH here AS ({_HERE})
SELECT json_build_object(
    'version_number', current_setting('server_version_num')::int,
    'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
    'in_recovery', here.in_recovery,
    'primary_timeline', CASE WHEN NOT here.in_recovery THEN substr(pg_walfile_name(here.current_lsn), 1, 8) END,
    'standby_timeline', CASE WHEN here.in_recovery THEN ({_STANDBY_TIMELINE}) END,
    'current_lsn', here.current_lsn, 'receive_lsn', here.receive_lsn, 'replay_lsn', here.replay_lsn,
    'replay_age_seconds', CASE WHEN here.receive_lsn = here.replay_lsn THEN 0
        WHEN here.in_recovery
        THEN greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())) END,
    'last_commit_age_seconds', CASE WHEN here.in_recovery
        THEN greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())) END,
    'replay_paused', CASE WHEN here.in_recovery THEN pg_is_wal_replay_paused() ELSE false END,
    'delaying', CASE WHEN here.in_recovery THEN ({_DELAYING}) END,
    'replay_hold', CASE WHEN here.in_recovery THEN ({_REPLAY_HOLD}) END,
    'redo', (SELECT json_build_object('lsn', redo_lsn, 'age_seconds',
        greatest(0, extract(epoch FROM clock_timestamp() - checkpoint_time))) FROM pg_control_checkpoint()),
    'recovery_unread', CASE WHEN here.in_recovery THEN {unread} END,
    'oldest_wal', ({_OLDEST_WAL}),
    'size_bytes', (SELECT sum(pg_database_size(oid))::bigint FROM pg_database),
    'tablespace_bytes', ({_TABLESPACES}),
    'libc_locales', ({_libc_locales(major)}),
    'hba', ({_HBA}), 'roles', ({_ROLES}), 'slots', ({_slots(major)}), 'senders', ({_SENDERS}),
    'receiver', CASE WHEN here.in_recovery THEN ({_receiver(major)}) END,
    'receiver_pid', ({_RECEIVER_PID}),
    'archiver', CASE WHEN current_setting('archive_mode') <> 'off' THEN ({_ARCHIVER}) END,
    'history', CASE WHEN NOT here.in_recovery THEN pg_read_file(
        'pg_wal/' || substr(pg_walfile_name(here.current_lsn), 1, 8) || '.history', 0, 1000000, true) END,
    'summarized', {_SUMMARIZED if major >= 17 else "NULL"},
    'has_proof', {HAS_PROOF})
FROM here
"""


HAS_PROOF = "to_regclass('pgtandem.proof') IS NOT NULL"
READ_PROOF = "SELECT token FROM pgtandem.proof WHERE id = 1"
CREATE_PROOF = """
CREATE SCHEMA IF NOT EXISTS pgtandem;
REVOKE ALL ON SCHEMA pgtandem FROM PUBLIC;
CREATE TABLE IF NOT EXISTS pgtandem.proof (
    id int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    token text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp());
REVOKE ALL ON pgtandem.proof FROM PUBLIC
"""
WRITE_PROOF = """
INSERT INTO pgtandem.proof (id, token) VALUES (1, %s)
ON CONFLICT (id) DO UPDATE SET token = excluded.token, written_at = excluded.written_at
"""

FIND_ROLE = "SELECT FROM pg_authid WHERE rolname = %s"
CREATE_ROLE = "CREATE ROLE {role}"
# VALID UNTIL and the role's own settings (statement_timeout ...) would end replication days later.
CORRECT_ROLE = """
ALTER ROLE {role} WITH LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS
    CONNECTION LIMIT -1 VALID UNTIL 'infinity' PASSWORD {verifier}
"""
SET_PASSWORD = "ALTER ROLE {role} WITH PASSWORD {verifier}"
END_SENDER = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = %s"
RESET_ROLE = "ALTER ROLE {role} RESET ALL"
IS_SUPERUSER = "SELECT rolsuper FROM pg_authid WHERE rolname = %s"

DISABLE_ROLE = "ALTER ROLE {role} WITH NOLOGIN NOREPLICATION"

# What pg_rewind reads another server with (manual, pg_rewind, Notes; 11 and later), in the one database that it uses.
CORRECT_REWIND_ROLE = """
ALTER ROLE {role} WITH LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS
    CONNECTION LIMIT 4 VALID UNTIL {until} PASSWORD {verifier}
"""
FROM_NOW = "SELECT (clock_timestamp() + make_interval(secs => %s))::text"
# Up to 13 pg_rewind makes a temporary table there.
GRANT_REWIND = (
    "GRANT CONNECT, TEMPORARY ON DATABASE postgres TO {role}",
    "GRANT USAGE ON SCHEMA pg_catalog TO {role}",
    "GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), "
    "pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO {role}",
)
CLOSE_ROLE = "ALTER ROLE {role} WITH NOLOGIN"
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
DROP_ROLE = ("DROP OWNED BY {role}", "DROP ROLE {role}")


def keep_statements_out_of_the_log(major: int) -> str:
    """Statements that hold for the transaction: the server's log gets no text of what follows, even where it fails."""
    quiet = ["log_statement = 'none'", "log_min_duration_statement = -1", "log_min_error_statement = 'panic'"]
    if major >= 12:
        quiet.append("log_transaction_sample_rate = 0")
    if major >= 13:
        quiet.append("log_min_duration_sample = -1")
    return "; ".join(f"SET LOCAL {setting}" for setting in quiet)


def find_slot(major: int) -> str:
    """The slot's type, whether it is active, and whether it keeps WAL (not before it was used, not once it is lost)."""
    lost = " AND wal_status <> 'lost'" if major >= 13 else ""
    return f"""
SELECT slot_type, active, restart_lsn IS NOT NULL{lost} FROM pg_replication_slots WHERE slot_name = %s
"""


CREATE_SLOT = "SELECT pg_create_physical_replication_slot(%s, true)"
KEEP_WAL = "SELECT pg_create_physical_replication_slot(%s, true, true)"
END_SLOT_USER = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active"
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active"

# As text: psycopg reads a timestamp only in the ISO DateStyle.
LOAD_TIME = "SELECT pg_conf_load_time()::text"
# A mistake that matters: one in pgtandem's own file, or one that keeps every file from being read. What takes effect at
# a start only is shown as one, in the same words, although it is none.
MISTAKE_IN_FILES = f"""
SELECT format('Line %s of %s: %s%s', sourceline, sourcefile, name || ' = ' || quote_literal(setting) || ': ', error)
FROM pg_file_settings
WHERE error IS NOT NULL
  AND (sourcefile LIKE '%/{SETTINGS_FILE}' OR NOT (SELECT bool_or(applied) FROM pg_file_settings))
  AND NOT EXISTS (SELECT FROM pg_settings AS known
                  WHERE lower(known.name) = lower(pg_file_settings.name) AND known.context = 'postmaster')
ORDER BY seqno LIMIT 1
"""
RELOAD = "SELECT pg_conf_load_time()::text, pg_reload_conf()"
# Up to 17 a session must know the setting that it resets, also one of an extension that it has not loaded.
MAKE_KNOWN = "SELECT set_config(%s, '', false) WHERE current_setting(%s, true) IS NULL"
RESET_SETTING = "ALTER SYSTEM RESET {name}"
ARCHIVED = "SELECT last_archived_wal, failed_count FROM pg_stat_archiver"

# Without a record in it, a new segment is not switched at all.
WRITE_SOMETHING = "SELECT pg_logical_emit_message(false, 'pgtandem', 'finish')"
# Transactional: its commit has a time. What is set for the transaction holds at its commit still.
COMMIT_SOMETHING = """
SELECT set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'pgtandem', 'commit')
"""
SWITCH_SEGMENT = """
SELECT pg_switch_wal()::text, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
       (SELECT bytes_per_wal_segment FROM pg_control_init())
"""

_LONG_PAGE_HEADER_BYTES = 40


def finished_segment(end: Lsn, timeline: Timeline, segment_bytes: int) -> str:
    """The name of the segment that pg_switch_wal() finished, from what it returned.

    pg_walfile_name() cannot tell: of a position on a boundary it names the segment before up to 16, and that after
    from 17 on. And a switch record that fills a segment to its last byte is reported as ending behind the long header
    of the next one (XLogInsertRecord): only what lies beyond that header is in the segment that the position is in.
    """
    return segment_name(timeline, (end.position - _LONG_PAGE_HEADER_BYTES - 1) // segment_bytes, segment_bytes)


CHECKPOINT = "CHECKPOINT"
POSITION = """
SELECT state.in_recovery,
       CASE WHEN state.in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text
FROM (SELECT pg_is_in_recovery() AS in_recovery OFFSET 0) AS state
"""
# To have it read its settings anew is what wakes it, of all that a session can do. No row where there is none.
WAKE_SUMMARIZER = """
SELECT pg_reload_conf() FROM pg_stat_activity WHERE backend_type = 'walsummarizer' LIMIT 1
"""
# Not waited for: the caller looks for itself, more often than the server does (every 100 ms).
RESUME_REPLAY = "SELECT pg_wal_replay_resume()"
PROMOTE = "SELECT pg_promote(false)"


#: The name of a session that has a base backup.
BACKUP_SESSION = "pgtandem base backup"


def start_backup(major: int) -> str:
    """Starts a base backup that ends with this session, by a checkpoint at once; never in exclusive mode (manual,
    9.28.3, 26.3.4). Returns where it starts, the size of a WAL segment and the data directory."""
    start = "pg_backup_start(%s, true)" if major >= 15 else "pg_start_backup(%s, true, false)"
    return f"""
SELECT {start}::text, (SELECT bytes_per_wal_segment FROM pg_control_init()), current_setting('data_directory')
"""


def stop_backup(major: int) -> str:
    """Ends it, and does not wait for the archive: returns where it ends, backup_label and tablespace_map."""
    stop = "pg_backup_stop(false)" if major >= 15 else "pg_stop_backup(false, false)"
    return f"SELECT lsn::text, labelfile, spcmapfile FROM {stop}"


# A checkpoint takes as long as the disk needs for it. Who looks at the server's sessions sees what this one is for.
PREPARE_BACKUP = f"SET statement_timeout = 0; SET application_name = '{BACKUP_SESSION}'"
