"""The table of effects: one function per kind of step. Each is safe to repeat, and leaves a safe state when cut off.

By name, since a plan needs few of them and a command that is to be quick loads no others.
"""

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module

from pgtandem.apply.context import Context
from pgtandem.model.plan import Step, StepKind

#: An effect returns a remark for the reader, or "".
Effect = Callable[[Context, Step], Awaitable[str]]

#: Module and function, in this room.
EFFECTS: Mapping[StepKind, str] = {
    StepKind.CREATE_ACCOUNT: "programs.create_account",
    StepKind.COPY_PROGRAMS: "programs.copy_programs",
    StepKind.REMOVE_LEFTOVERS: "copies.remove_leftovers",
    StepKind.CREATE_DATA_DIRECTORY: "copies.create_data_directory",
    StepKind.WRITE_FILES: "node_files.write_files",
    StepKind.WRITE_CERTIFICATE: "certificates.write_certificate",
    StepKind.REMOVE_CERTIFICATE: "certificates.remove_certificate",
    StepKind.RESET_SETTINGS: "databases.reset_settings",
    StepKind.START: "servers.start",
    StepKind.STOP: "servers.stop",
    StepKind.RESTART: "servers.restart",
    StepKind.RELOAD: "databases.reload",
    StepKind.CREATE_ROLE: "databases.create_role",
    StepKind.NEW_PASSWORDS: "passwords.new_passwords",
    StepKind.ROTATE_PASSWORDS: "passwords.rotate_passwords",
    StepKind.RECONNECT: "passwords.reconnect",
    StepKind.FORGET_PASSWORDS: "passwords.forget_passwords",
    StepKind.DROP_ROLE: "databases.drop_role",
    StepKind.CREATE_SLOT: "databases.create_slots",
    StepKind.DROP_SLOT: "databases.drop_slots",
    StepKind.CREATE_ARCHIVE: "archives.create_archive",
    StepKind.CHECK_ARCHIVE: "archives.check_archive",
    StepKind.ARCHIVE_NEWER: "archives.archive_newer",
    StepKind.START_STREAM: "streams.start_stream",
    StepKind.STOP_STREAM: "streams.stop_stream",
    StepKind.REMOVE_STREAM: "streams.remove_stream",
    StepKind.KEEP_RECEIVER: "keepers.keep_receiver",
    StepKind.FORGET_RECEIVER: "keepers.forget_receiver",
    StepKind.BASE_BACKUP: "base_backups.base_backup",
    StepKind.REPLACE_DATA: "base_backups.replace_data",
    StepKind.RENEW_DATA: "merged_copies.renew_data",
    StepKind.FINISH_MERGE: "merging.finish_merge",
    StepKind.REMOVE_REPLACED: "removal.remove_replaced",
    StepKind.PROVE_REPLICATION: "databases.prove_replication",
    StepKind.REGISTER: "registrations.register",
    StepKind.UNREGISTER: "registrations.unregister",
    StepKind.CHECKPOINT: "role_changes.checkpoint",
    StepKind.FENCE: "role_changes.fence",
    StepKind.UNFENCE: "role_changes.unfence",
    StepKind.SETTLE_WAL: "role_changes.settle_wal",
    StepKind.CONFIRM_RECEIVED: "role_changes.confirm_received",
    StepKind.CONFIRM_STREAMED: "streamed.confirm_streamed",
    StepKind.PROMOTE: "role_changes.promote",
    StepKind.HAND_IN_WAL: "handing_in.hand_in_wal",
    StepKind.FORGET_PROMOTION: "role_changes.forget_promotion",
    StepKind.TELL_LOSS: "rewinding.tell_loss",
    StepKind.END_SERVER: "role_changes.end_server",
    StepKind.KEEP_WAL: "rewinding.keep_wal",
    StepKind.ARCHIVE_REST: "unarchived.archive_before_following",
    StepKind.SET_TIMELINES_ASIDE: "stray_timelines.set_timelines_aside",
    StepKind.REWIND: "rewinding.rewind",
    StepKind.REMOVE_DATA_DIRECTORY: "removal.remove_data_directory",
    StepKind.REMOVE_ARCHIVE: "archives.remove_archive",
    StepKind.OPEN_WAL_WAYS: "wal_ways.open_wal_ways",
    StepKind.REVOKE_KEYS: "wal_ways.revoke_keys",
    StepKind.FORGET_NODE: "removal.forget_node",
    StepKind.TAKE_BACKUP: "backup_taking.take_backup",
    StepKind.CHECK_BACKUP_WAL: "backups.check_backup_wal",
    StepKind.VERIFY_BACKUP: "backups.verify_backup",
    StepKind.KEEP_BACKUP: "backups.keep_backup",
    StepKind.REMOVE_BACKUP: "backups.remove_backup",
    StepKind.PRUNE_WAL: "pruning.prune_wal",
    StepKind.RESTORE_DATA: "restoring.restore_data",
    StepKind.RECOVER: "restoring.recover",
    StepKind.END_RECOVERY: "restoring.end_recovery",
    StepKind.SETTLE_RESTORED: "restoring.settle_restored",
    StepKind.PUT_BACK: "putting_back.put_back",
    StepKind.FORGET_RESTORE: "putting_back.forget_restore",
    StepKind.CHECK_RESTORED: "drills.check_restored",
    StepKind.NOTE_DRILL: "drills.note_drill",
    StepKind.REMOVE_RESTORED: "drills.remove_restored",
    StepKind.ADOPT: "adopting.adopt",
    StepKind.SET_PASSWORD: "adopting.set_password",
    StepKind.DISABLE_ROLES: "adopting.disable_roles",
    StepKind.CHANGE_RECORDS: "adopting.change_records",
    StepKind.PAUSE: "pooling.pause",
    StepKind.REPOINT: "pooling.repoint",
    StepKind.RESUME: "pooling.resume",
}


def effect_of(kind: StepKind) -> Effect:
    """Loads what it is in. Raises KeyError for a kind without effect: a defect that the tests find."""
    module, _, name = EFFECTS[kind].partition(".")
    effect: Effect = getattr(import_module(f"pgtandem.apply.{module}"), name)
    return effect
