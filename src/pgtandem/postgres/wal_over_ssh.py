"""What the programs that carry WAL between hosts over SSH are called with, and which hosts they ask.

On the host that has WAL `wal_serve` is the forced command of a key; `wal_fetch` and `wal_push` lie in the data
directory and are called by restore_command and archive_command; `HOSTS_FILE` beside them says with which key, and whom
to ask.
"""

from collections.abc import Sequence

from pgtandem.postgres.wal_fetch import FETCH_SCRIPT
from pgtandem.postgres.wal_push import PUSH_SCRIPT

#: First line: CLUSTER/NODE, which leads to the folder with the key and ssh's configuration, below the account's home.
#: Then one host per line, by its name in that configuration.
HOSTS_FILE = "pgtandem/wal-hosts"

FETCH_COMMAND = f'sh {FETCH_SCRIPT} "%f" "%p"'


def push_command(form: Sequence[str] = ()) -> str:
    """`form` is the compression and its level, where there is one; the server's own shell reads it, as archive-wal."""
    return " ".join(('set -- "%p" "%f"', *form, f"&& . {PUSH_SCRIPT}; exit 1"))


def render_hosts(place: str, hosts: Sequence[str]) -> str:
    """`place` is CLUSTER/NODE."""
    return "".join(f"{line}\n" for line in (place, *hosts))
