"""Making and reading X.509 certificates. Nothing here reads or writes a file: PEM texts go in and out."""

from collections.abc import Sequence
from typing import Protocol

from pgtandem.model.names import Secret
from pgtandem.model.observed import Authority, Certificate
from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A server's certificate (PEM), and its private key where a new one was made."""

    certificate: str
    key: Secret | None


class Certificates(Protocol):
    """All times are seconds since 1970."""

    def new_authority(self, cluster: str, now: float, valid_until: float) -> Secret:
        """A new CA: its private key and its certificate in one PEM text."""
        ...

    def new_certificate(
        self,
        authority: Secret,
        name: str,
        names: Sequence[str],
        now: float,
        valid_until: float,
        *,
        same_key_as: str | None = None,
    ) -> NewCertificate:
        """A server's certificate with this common name for these DNS names and IP addresses, signed by the CA.

        With `same_key_as`, a certificate that this CA or another signed, it is for the same key; else for a new one.
        It is valid no longer than the CA. Raises ValueError where one of the texts is not what it should be.
        """
        ...

    def read_authority(self, text: str) -> Authority:
        """The CA certificates in a PEM text. Raises ValueError where there is none."""
        ...

    def read(self, content: bytes, authority: str | None) -> Certificate:
        """The first certificate of a PEM text, or one in DER. What follows it may lead to the CA's certificates in
        `authority`. Raises ValueError."""
        ...
