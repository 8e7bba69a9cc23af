"""Where PostgreSQL comes from: folders, packages, and the one command that installs them on a distribution."""

from collections.abc import Sequence

from pgtandem.model.observed import System

#: Major versions that the embedded wheel brings.
EMBEDDED_MAJORS = (16, 18)

#: Where packages put the server programs; the folder of a build from source does not say which major it is.
PROGRAM_FOLDERS = (
    "/usr/lib/postgresql/{major}/bin",  # Debian, Ubuntu
    "/usr/pgsql-{major}/bin",  # PostgreSQL's own packages for RHEL and its kin
    "/usr/lib/postgresql{major}/bin",  # SUSE
    "/usr/libexec/postgresql{major}",  # Alpine
    "/usr/local/pgsql/bin",
)

#: The programs that the packages for clients bring, and not those for servers.
_OF_CLIENTS = frozenset({"pg_basebackup"})

#: The one major version that a release of a distribution carries itself.
_CARRIED = {
    ("debian", "11"): 13,
    ("debian", "12"): 15,
    ("debian", "13"): 17,
    ("ubuntu", "20.04"): 12,
    ("ubuntu", "22.04"): 14,
    ("ubuntu", "24.04"): 16,
}

#: Debian's own script that adds PostgreSQL's repository; it comes with postgresql-common.
_ADD_REPOSITORY = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh"


def install_hint(system: System, major: int, missing: Sequence[str] = ()) -> str:
    """The command that installs a major version's programs on that distribution; of a distribution that is not known
    here, the commands of the common ones. `missing` are programs: without any the server's package is meant."""
    for_clients = bool(missing) and _OF_CLIENTS.issuperset(missing)
    for name in system.ids:
        if name in ("debian", "ubuntu"):
            install = f"apt-get install postgresql-{'client-' if for_clients else ''}{major}"
            if _CARRIED.get((system.ids[0], system.version), major) == major:
                return install
            return f"apt-get install postgresql-common && {_ADD_REPOSITORY} && {install}"
        if name in ("rhel", "fedora", "centos", "rocky", "almalinux"):
            return f"dnf install postgresql{major}{'' if for_clients else '-server'}"
        if name in ("suse", "opensuse", "sles"):
            return f"zypper install postgresql{major}{'' if for_clients else '-server'}"
        if name == "alpine":
            return f"apk add postgresql{major}{'-client' if for_clients else ''}"
    hint = f"apt-get install postgresql-{major}   (Debian, Ubuntu)   or   dnf install postgresql{major}-server   (RHEL)"
    if major in EMBEDDED_MAJORS:
        hint += "   or   pip install 'pgtandem[embedded]'"
    return hint


def parse_os_release(text: str) -> System:
    """What /etc/os-release says (man os-release)."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            values[key] = value.strip("\"'")
    ids = [values.get("ID", "linux"), *values.get("ID_LIKE", "").split()]
    return System(
        name=values.get("PRETTY_NAME", values.get("NAME", "")),
        ids=tuple(dict.fromkeys(name.partition("-")[0] for name in ids)),
        version=values.get("VERSION_ID", ""),
    )
