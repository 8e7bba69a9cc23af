"""What one account has for SSH on one host."""

from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class SshHome:
    """What the account has for SSH on one host: who it is, its home, its file authorized_keys (what a link leads to),
    and the host's own public keys (type and key)."""

    account: str
    path: str
    authorized_keys: str
    host_keys: tuple[str, ...]
