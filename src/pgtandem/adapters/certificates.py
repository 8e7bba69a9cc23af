"""Certificates by the library cryptography, imported when the first is made or read: the port Certificates."""

import datetime
import ipaddress
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pgtandem.model.names import Secret
from pgtandem.model.observed import Authority, Certificate
from pgtandem.ports.certificates import NewCertificate

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

#: How far clocks may be apart: a certificate is valid from so long before it was made.
_CLOCKS_APART_SECONDS = 3600.0
_LONGEST_NAME = 64


class X509Certificates:
    """Keys are on the curve P-256, which every TLS since PostgreSQL 10 knows."""

    def new_authority(self, cluster: str, now: float, valid_until: float) -> Secret:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        # Two CAs of one cluster must never have the same name: OpenSSL finds the issuer by it.
        serial = x509.random_serial_number()
        name = _name(f"pgtandem CA of {cluster} {serial & 0xFFFFFFFF:08x}")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        usage = _key_usage(signs_certificates=True)
        certificate = (
            _builder(name, name, serial, now, valid_until)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        return Secret(_key_text(key) + _text(certificate))

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
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        signer = x509.load_pem_x509_certificate(authority.reveal().encode())
        signing_key = load_pem_private_key(authority.reveal().encode(), None)
        if not isinstance(signing_key, ec.EllipticCurvePrivateKey):
            raise ValueError("the CA's key is not on an elliptic curve")
        key = None if same_key_as else ec.generate_private_key(ec.SECP256R1())
        public = x509.load_pem_x509_certificate(same_key_as.encode()).public_key() if same_key_as else None
        subject = public if key is None else key.public_key()
        if not isinstance(subject, ec.EllipticCurvePublicKey):
            raise ValueError("the certificate's key is not on an elliptic curve")
        until = min(valid_until, signer.not_valid_after_utc.timestamp())
        certificate = (
            _builder(_name(name), signer.subject, x509.random_serial_number(), now, until)
            .public_key(subject)
            .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
            .sign(signing_key, hashes.SHA256())
        )
        return NewCertificate(_text(certificate), None if key is None else Secret(_key_text(key)))

    def read_authority(self, text: str) -> Authority:
        found = _load(text.encode())
        return Authority(
            "".join(_text(certificate) for certificate in found),
            min(certificate.not_valid_after_utc.timestamp() for certificate in found),
        )

    def read(self, content: bytes, authority: str | None) -> Certificate:
        from cryptography.hazmat.primitives import hashes

        first, *others = _load(content)
        trusted = _load(authority.encode()) if authority else []
        return Certificate(
            fingerprint=first.fingerprint(hashes.SHA256()).hex(),
            name=_common_name(first),
            names=tuple(_names(first)),
            valid_from=first.not_valid_before_utc.timestamp(),
            valid_until=first.not_valid_after_utc.timestamp(),
            ours=_leads_to(first, others, trusted),
        )


def _load(content: bytes) -> "list[x509.Certificate]":
    """Raises ValueError."""
    from cryptography import x509

    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]


def _leads_to(
    certificate: "x509.Certificate", others: "list[x509.Certificate]", trusted: "list[x509.Certificate]"
) -> bool:
    """Whether a chain of signatures leads from the certificate to one that is trusted."""
    at = certificate
    for _ in range(len(others) + 1):
        if any(_signed(at, by) for by in trusted):
            return True
        issuer = next((other for other in others if other != at and _signed(at, other)), None)
        if issuer is None:
            return False
        at = issuer
    return False


def _signed(certificate: "x509.Certificate", by: "x509.Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(
    subject: "x509.Name", issuer: "x509.Name", serial: int, now: float, until: float
) -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(serial)
        .not_valid_before(_time(min(now, until) - _CLOCKS_APART_SECONDS))
        .not_valid_after(_time(until))
    )


def _key_usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _name(text: str) -> "x509.Name":
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:_LONGEST_NAME])])


def _common_name(certificate: "x509.Certificate") -> str:
    from cryptography import x509

    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _general_name(text: str) -> "x509.GeneralName":
    """An IP address where the text is one; a DNS name otherwise, also for "dns:10.0.0.1"."""
    from cryptography import x509

    if text.startswith("dns:"):
        return x509.DNSName(text.removeprefix("dns:"))
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _names(certificate: "x509.Certificate") -> Iterator[str]:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in found:
        if isinstance(name, x509.IPAddress):
            yield str(name.value)
        elif isinstance(name, x509.DNSName):
            try:
                ipaddress.ip_address(name.value)
                yield f"dns:{name.value}"
            except ValueError:
                yield name.value


def _key_text(key: "EllipticCurvePrivateKey") -> str:
    from cryptography.hazmat.primitives import serialization

    form, how = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, how).decode()


def _text(certificate: "x509.Certificate") -> str:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM).decode()
