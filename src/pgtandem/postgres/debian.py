"""What Debian's postgresql-common keeps about a cluster (pg_createcluster(1), pg_ctlcluster(1), start.conf).

To it a cluster MAJOR/NAME is a folder /etc/postgresql/MAJOR/NAME with a postgresql.conf that names the data directory.
pgtandem keeps the configuration in the data directory, as everywhere, so that a base backup has all of it; the file in
/etc only leads there.
"""

import re

from pgtandem.model.layout import HostCluster
from pgtandem.model.names import NodeName
from pgtandem.postgres.conf import parse_settings

CONFIG_FILE = "postgresql.conf"
START_FILE = "start.conf"
LOG_LINK = "log"

_DATA = re.compile(r"/var/lib/postgresql/(\d+)/([A-Za-z0-9_][A-Za-z0-9_.-]*)")
_MARKER = "# Made by pgtandem for node {node} of cluster {cluster}."

START_TEXT = """\
# Whether the server starts with the host: auto, manual or disabled (see pg_createcluster(1)). pgtandem writes this file
# once and leaves what is written here.
auto
"""


def programs_directory(major: int) -> str:
    """Where postgresql-common looks for the programs of a major version, and nowhere else."""
    return f"/usr/lib/postgresql/{major}/bin"


def registration_directory(data_directory: str, major: int) -> str | None:
    """Where a cluster with this data directory is registered; None where Debian's rule names none."""
    found = _DATA.fullmatch(data_directory)
    return f"/etc/postgresql/{major}/{found[2]}" if found and found[1] == str(major) else None


def unit_of(registration: str) -> str | None:
    """The systemd unit of a registered cluster; None for a name with a dash, which the unit's template cannot have
    (it takes the dash for a slash)."""
    _, major, name = registration.rsplit("/", 2)
    return None if "-" in name else f"postgresql@{major}-{name}.service"


def registration_text(cluster: str, node: NodeName, data_directory: str, port: int) -> str:
    """The postgresql.conf of the registration. The port stands in it for those who may not read the data directory;
    what the data directory says comes later and wins."""
    return "\n".join(
        [
            _MARKER.format(node=node, cluster=cluster),
            "# It makes the data directory known to postgresql-common: pg_lsclusters, pg_ctlcluster, the start of the",
            "# system. The settings are in the data directory, and what is written here is replaced.",
            f"data_directory = '{data_directory}'",
            f"hba_file = '{data_directory}/pg_hba.conf'",
            f"ident_file = '{data_directory}/pg_ident.conf'",
            f"port = {port}",
            f"include '{data_directory}/postgresql.conf'",
            "",
        ]
    )


def is_ours(text: str, cluster: str, node: NodeName) -> bool:
    """Whether pgtandem made a registration, for this node."""
    return text.startswith(_MARKER.format(node=node, cluster=cluster) + "\n")


def registered_data(text: str) -> str:
    """The data directory that a registration names, "" for none."""
    return parse_settings(text).get("data_directory", "")


def starts_with_the_host(text: str | None) -> bool:
    """What a start.conf says; without one the cluster starts."""
    for line in (text or "").splitlines():
        word = line.partition("#")[0].strip()
        if word:
            return word.startswith("auto")
    return True


def parse_clusters(text: str) -> tuple[HostCluster, ...]:
    """What `pg_lsclusters -h` prints: version, name, port, status, owner, data directory, log file."""
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 6 and parts[0].isdigit() and parts[2].isdigit():
            online = parts[3].startswith("online")
            found.append(HostCluster(int(parts[0]), parts[1], int(parts[2]), online, parts[5]))
    return tuple(found)
