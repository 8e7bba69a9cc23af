"""PostgreSQL settings: the table [parameters] and the ones of single nodes."""

import math
import re
from collections.abc import Mapping

from pgtandem.errors import Problem
from pgtandem.postgres.owned import OWNED
from pgtandem.postgres.settings import SettingSpec, canonical, majors_with, setting_names, setting_spec
from pgtandem.postgres.versions import NEWEST, untested
from pgtandem.topology.problems import Path, Problems, listed, nearest
from pgtandem.topology.table import has_control_characters
from pgtandem.topology.toml import describe, quote_text

#: Settings that were renamed or replaced, with their successor and how the value changes.
SUCCESSORS: Mapping[str, tuple[str, str]] = {
    "checkpoint_segments": ("max_wal_size", "three times as many segments, of 16 MB each"),
    "force_parallel_mode": ("debug_parallel_query", ""),
    "min_parallel_relation_size": ("min_parallel_table_scan_size", ""),
    "ssl_ecdh_curve": ("ssl_groups", ""),
    "wal_keep_segments": ("wal_keep_size", "16 MB for each segment"),
}

#: Settings that went away with no successor, and why nobody misses them.
GONE: Mapping[str, str] = {
    "default_with_oids": "tables with OIDs went away with PostgreSQL 12",
    "old_snapshot_threshold": "it went away with PostgreSQL 17",
    "replacement_sort_tuples": "it went away with PostgreSQL 11",
    "stats_temp_directory": "statistics are in shared memory since PostgreSQL 15",
    "vacuum_cleanup_index_scale_factor": "it went away with PostgreSQL 14",
    "vacuum_defer_cleanup_age": "use hot_standby_feedback or replication slots",
}

_COUNTED = ("max_wal_senders", "max_replication_slots")
# guc-file.l knows at most one dot in a name.
_EXTENSION_NAME = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")


class Judge:
    """Judges settings for a major version (None where it is not known) and a number of nodes."""

    def __init__(self, problems: Problems, major: int | None, node_count: int) -> None:
        self._problems = problems
        self._major = major
        self._needed = node_count + 2

    def read(self, path: Path, values: Mapping[str, object]) -> dict[str, str]:
        """The sound settings of one table: lower-case name to the text of the value, without quotes."""
        settings: dict[str, str] = {}
        written: dict[str, str] = {}
        for key, value in values.items():
            name = key.lower()
            problem: Problem | None
            if written.setdefault(name, key) != key:
                problem = Problem("", f'"{name}" is given twice', "Case does not count in the name of a setting.")
            else:
                problem = self._judge_name(name, value) or self._judge_value(name, value)
            if problem:
                self._problems.add((*path, key), problem.what, problem.why, problem.next_step)
            else:
                settings[name] = setting_text(value)
        return settings

    def _judge_name(self, name: str, value: object) -> Problem | None:
        if name in OWNED:
            what = f'setting "{name}" is decided by pgtandem itself'
            hint = OWNED[name]
            return Problem("", what, "", hint) if hint.startswith("say ") else Problem("", what, _sentence(hint))
        if isinstance(value, dict):
            inner = next(iter(value), "setting")
            hint = f"a name with a dot stands in quotes: {quote_text(f'{name}.{inner}')} = ..."
            return Problem("", "a setting has a value, not a table", "", hint)
        if "." in name:
            if _EXTENSION_NAME.fullmatch(name):
                return None
            why = "The name of an extension's setting is EXTENSION.SETTING, in letters, digits and underscores."
            return Problem("", f"{describe(name)} is not the name of a setting", why)
        if self._major is None:
            return None
        spec = setting_spec(self._major, name)
        if spec is None:
            return _unknown(name, self._major)
        if spec.name.lower() != name:
            present = spec.name.lower()
            return Problem("", f'"{name}" is an old name of "{present}"', "", f"write {present}")
        if not spec.changeable:
            why = "It was fixed when PostgreSQL was built or is fixed when a data directory is made."
            return Problem("", f'setting "{name}" cannot be changed', why, "remove the line")
        return None

    def _judge_value(self, name: str, value: object) -> Problem | None:
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            what = f"{describe(value)} is not a value of a setting"
            return Problem("", what, "A value is a text, a number, true or false.")
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            return Problem("", "the number is too large", "No setting has more than 64 bits.")
        text = setting_text(value)
        if has_control_characters(text.replace("\t", "")):
            return Problem("", f"{describe(value)} has a line break or another control character")
        spec = setting_spec(self._major, name) if self._major is not None else None
        if spec is None:
            return None
        try:
            in_base_unit = canonical(spec, text)
        except ValueError as error:
            return Problem("", f"{name} {error}")
        return self._judge_for_replication(spec, in_base_unit)

    def _judge_for_replication(self, spec: SettingSpec, value: str) -> Problem | None:
        if spec.name == "wal_level" and value == "minimal":
            why = "With it the WAL lacks what a standby and a base backup need."
            return Problem("", 'wal_level "minimal" does not allow standbys', why, 'wal_level = "replica"')
        if spec.name in _COUNTED and int(value) < self._needed:
            nodes = self._needed - 2
            of_nodes = "1 node" if nodes == 1 else f"{nodes} nodes"
            what = f"{value} is too low for {of_nodes}: at least {self._needed} are needed"
            why = "One for every node, and two for a base backup."
            return Problem("", what, why, f"{spec.name} = {self._needed}")
        return None


def setting_text(value: object) -> str:
    """A TOML value as a configuration file says it, without quotes."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _unknown(name: str, major: int) -> Problem:
    """A setting that this version does not have: where it exists, what replaced it, or what was meant."""
    majors = majors_with(name)
    what = f'PostgreSQL {min(major, NEWEST)} has no setting "{name}"'
    why = f"It exists only in PostgreSQL {_versions(majors)}." if majors else ""
    if untested(major):
        why = " ".join(filter(None, (f"{untested(major)}.", why)))
    if name in GONE:
        return Problem("", what, why or _sentence(GONE[name]), f"{GONE[name]}" if why else "")
    successor, change = SUCCESSORS.get(name, ("", ""))
    if successor and setting_spec(major, successor):
        return Problem("", what, why, f"write {successor}" + (f": {change}" if change else ""))
    for old, (new, _) in SUCCESSORS.items():
        if new == name and setting_spec(major, old):
            return Problem("", what, why, f"write {old}, as it was called then")
    near = None if majors else nearest(name, _settable(major))
    if near is None:
        return Problem("", what, why)
    owned = f" It is decided by pgtandem itself: {OWNED[near]}" if near in OWNED else ""
    return Problem("", what, why, f'did you mean "{near}"?{owned}')


def _settable(major: int) -> set[str]:
    """The settings that a hint may name, in lower case."""
    specs = (setting_spec(major, name) for name in setting_names(major))
    return {spec.name.lower() for spec in specs if spec and spec.changeable}


def _versions(majors: tuple[int, ...]) -> str:
    """ "10 to 12", "16", "10 to 12 and 15"."""
    runs: list[list[int]] = []
    for major in sorted(majors):
        if runs and runs[-1][-1] == major - 1:
            runs[-1].append(major)
        else:
            runs.append([major])
    return listed(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
