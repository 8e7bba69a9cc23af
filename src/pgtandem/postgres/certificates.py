"""TLS files of a data directory, and which names a certificate is for (manual, 19.9 and 34.19)."""

import ipaddress
import re
from collections.abc import Iterable

#: Relative to the data directory, where the server and its WAL receiver begin.
CERTIFICATE_FILE = "pgtandem/server.crt"
KEY_FILE = "pgtandem/server.key"
ROOT_FILE = "pgtandem/ca.crt"

#: What a connection asks for that checks the server's certificate and its name.
VERIFY = "verify-full"

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def is_address(text: str) -> bool:
    """Whether it is an IP address and not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def covers(names: Iterable[str], address: str) -> bool:
    """Whether a certificate for these names is one for a host that is connected to as `address`."""
    if is_address(address):
        wanted = ipaddress.ip_address(address)
        return any(is_address(name) and ipaddress.ip_address(name) == wanted for name in names)
    wanted_name = address.removesuffix(".").lower()
    _, _, domain = wanted_name.partition(".")
    return any(name.lower() == wanted_name or (domain and name.lower() == f"*.{domain}") for name in names)


def has_certificates(text: str | None, others: str) -> bool:
    """Whether every certificate of `others` (PEM) is in `text`."""
    return set(_PEM.findall(others)) <= set(_PEM.findall(text or ""))


def joined(text: str, more: str | None) -> str:
    """The certificates of both texts, each once, in their order."""
    return "".join(f"{found}\n" for found in dict.fromkeys(_PEM.findall(text) + _PEM.findall(more or "")))
