"""How a simulated server reads its configuration files: settings with includes, pg_hba.conf, the passfile."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType

from pgtandem.model.server import HbaRule, Setting
from pgtandem.postgres import scram
from pgtandem.postgres.conf import parse_settings
from pgtandem.postgres.settings import canonical, setting_names, setting_spec
from pgtandem.testing.files import SimFolder

_INCLUDE = re.compile(r"^\s*include\s*=?\s*'([^']+)'")
AUTO_FILE = "postgresql.auto.conf"


class Misconfigured(Exception):
    """The server would not take these files; the text is what its log says."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value of a configuration file, as pg_settings shows it, and the file's full path."""

    value: str
    file: str


def read_settings(folder: SimFolder, path: str, major: int) -> dict[str, Assignment]:
    """What the files of a data directory set, the last assignment winning; postgresql.auto.conf is read last.

    Names are spelled as the server does. Raises Misconfigured.
    """
    found: dict[str, Assignment] = {}
    for name in ("postgresql.conf", AUTO_FILE):
        _read(folder, path, name, found)
    return {key: value for name, each in found.items() for key, value in [_checked(major, name, each)]}


def _read(folder: SimFolder, path: str, name: str, found: dict[str, Assignment]) -> None:
    text = folder.text(name)
    if text is None:
        raise Misconfigured(f'could not open configuration file "{path}/{name}": No such file or directory')
    for line in text.splitlines():
        include = _INCLUDE.match(line)
        if include:
            _read(folder, path, include.group(1), found)
            continue
        for key, value in parse_settings(line).items():
            found[key] = Assignment(value, f"{path}/{name}")


def _checked(major: int, name: str, assignment: Assignment) -> tuple[str, Assignment]:
    spec = setting_spec(major, name)
    if spec is None:
        if "." in name:
            return name, assignment
        raise Misconfigured(f'unrecognized configuration parameter "{name}" in file "{assignment.file}"')
    try:
        return spec.name, Assignment(canonical(spec, assignment.value), assignment.file)
    except ValueError as error:
        raise Misconfigured(f'invalid value for parameter "{name}": "{assignment.value}": {error}') from None


@cache
def default_settings(major: int) -> Mapping[str, Setting]:
    """pg_settings of a server whose files set nothing."""
    settings = {}
    for name in setting_names(major):
        spec = setting_spec(major, name)
        assert spec is not None
        settings[name] = Setting(spec.default or "")
    return MappingProxyType(settings)


def parse_hba(text: str) -> tuple[HbaRule, ...]:
    """The rules of a pg_hba.conf, as pg_hba_file_rules shows them."""
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        address = None if words[0] == "local" else words[3] if len(words) > 3 else ""
        method = words[-1]
        known = method in ("trust", "reject", "scram-sha-256", "md5", "peer") and len(words) >= 4
        databases, users = tuple(words[1].split(",")), tuple(words[2].split(",")) if len(words) > 2 else ()
        error = None if known else f'invalid authentication method "{method}"'
        rules.append(HbaRule(number, words[0], databases, users, address, method, error))
    return tuple(rules)


def admitted(
    rules: tuple[HbaRule, ...], database: str, user: str, address: str, *, encrypted: bool = False
) -> str | None:
    """The method of the first rule that fits a TCP connection, None where none does."""
    for rule in rules:
        fits_database = database in rule.databases or (database != "replication" and "all" in rule.databases)
        fits_user = user in rule.users or "all" in rule.users
        kinds = ("host", "hostssl" if encrypted else "hostnossl")
        if rule.kind in kinds and fits_database and fits_user and _contains(rule.address or "", address):
            return rule.method
    return None


def _contains(network: str, address: str) -> bool:
    if network in ("all", "samehost", "samenet"):
        return True
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def password_fits(password: str, verifier: str) -> bool:
    """As `scram.matches`, which takes a millisecond or more on purpose."""
    return scram.matches(password, verifier)


def password_for(passfile: str, host: str, port: int, user: str) -> str | None:
    """The password that libpq finds in a passfile."""
    for line in passfile.splitlines():
        fields = re.split(r"(?<!\\):", line, maxsplit=4)
        wanted = (host, str(port), "replication", user)
        plain = [field.replace("\\:", ":").replace("\\\\", "\\") for field in fields]
        if len(fields) == 5 and all(part in ("*", want) for part, want in zip(plain, wanted, strict=False)):
            return plain[4]
    return None
