"""A file of the archive that the servers' account may not read: somebody put it there by hand, as root perhaps."""

import re
import shlex

from pgtandem.model.restore import RestoreOrder
from pgtandem.model.topology import HostAddress
from pgtandem.model.value import dataclass

#: What the scripts say that read files of the archive.
_SAID = re.compile(r"(/(?:(?!: )[^\n])*) cannot be read by (\S+)")


@dataclass(frozen=True, slots=True)
class KeptFromReading:
    """The file, and the account that may not read it."""

    path: str
    account: str

    @property
    def why(self) -> str:
        return (
            f"Account {self.account} may not read {self.path}. Its owner or mode, or that of a folder above it, is not "
            "what pgtandem made it; its content may be as good as ever."
        )

    def next_step(self, host: HostAddress, afterwards: str) -> str:
        path, on = shlex.quote(self.path), "" if host.is_local else f" on {host.url.removeprefix('ssh://')}"
        return f"chown {self.account} {path} && chmod 600 {path}   (as root{on}), then {afterwards}"


def kept_from_reading(said: str) -> KeptFromReading | None:
    """Of what a script, or the log of a server that called one, says; the last such line."""
    found = _SAID.findall(said)
    return KeptFromReading(*found[-1]) if found else None


def again(order: RestoreOrder) -> str:
    return "pgtandem drill" if order.drill is not None else "run the same command again"
