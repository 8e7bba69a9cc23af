"""For how long logins over SSH stay after a command, as the environment says it."""

import os

from pgtandem.adapters.hosts.ssh_kept import KEEP_SECONDS, KEEP_VARIABLE, LONGEST_SECONDS, KeptLogins
from pgtandem.errors import PgtandemError


def kept_logins() -> KeptLogins:
    """The logins that earlier commands left. Raises PgtandemError PT-1006 for what is no number of seconds."""
    said = os.environ.get(KEEP_VARIABLE, "").strip()
    if said and not (said.isascii() and said.isdigit() and int(said) <= LONGEST_SECONDS):
        raise PgtandemError(
            "PT-1006",
            f'{KEEP_VARIABLE} is "{said}"',
            why=f"It says for how many seconds a login over SSH stays after a command: 0 (none) to {LONGEST_SECONDS}.",
            next_step=f"unset {KEEP_VARIABLE}   ({KEEP_SECONDS} seconds)",
        )
    logins = KeptLogins(int(said or KEEP_SECONDS))
    logins.tidy()
    return logins
