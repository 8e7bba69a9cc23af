"""Certificates by the library: the contract, and that OpenSSL takes them."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from pgtandem.adapters.certificates import X509Certificates
from pgtandem.model.names import Secret
from ports.certificates_contract import DAY, NOW, CertificatesContract, ca  # noqa: F401


@pytest.fixture
def certificates() -> X509Certificates:
    return X509Certificates()


class TestX509Certificates(CertificatesContract):
    pass


def handshake(certificate: str, key: Secret, root: str, name: str, folder: Path) -> None:
    """What OpenSSL says to a server with this certificate that is called by this name."""
    (folder / "server.crt").write_text(certificate)
    (folder / "server.key").write_text(key.reveal())
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "server.crt", folder / "server.key")
    checking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    checking.verify_flags |= ssl.VERIFY_X509_STRICT
    checking.load_verify_locations(cadata=root)
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)

    def serve() -> None:
        try:
            serving.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        checking.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        server.join(10)


@pytest.mark.parametrize("name", ["10.0.0.1", "db1.example", "2001:db8::1"])
def test_openssl_takes_a_certificate_strictly_for_each_of_its_names(tmp_path: Path, name: str) -> None:
    import time

    maker, now = X509Certificates(), time.time()
    made_ca = maker.new_authority("shop " + "x" * 100, now, now + 1000 * DAY)
    root = maker.read_authority(made_ca.reveal()).text
    made = maker.new_certificate(made_ca, "db1", ("10.0.0.1", "db1.example", "2001:db8::1"), now, now + DAY)
    assert made.key is not None
    handshake(made.certificate, made.key, root, name, tmp_path)
    renewed = maker.new_certificate(made_ca, "db1", (name,), now, now + DAY, same_key_as=made.certificate)
    handshake(renewed.certificate, made.key, root, name, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made.certificate, made.key, root, "other.example", tmp_path)


def test_chain_that_leads_to_the_ca_through_another_certificate_is_ours() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    maker = X509Certificates()
    root = maker.new_authority("root", NOW, NOW + 1000 * DAY)
    middle = maker.new_authority("middle", NOW, NOW + 900 * DAY)
    signer = x509.load_pem_x509_certificate(root.reveal().encode())
    below = x509.load_pem_x509_certificate(middle.reveal().encode())
    key = load_pem_private_key(root.reveal().encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = below.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    crossed = (
        x509.CertificateBuilder()
        .subject_name(below.subject)
        .issuer_name(signer.subject)
        .public_key(public)
        .serial_number(7)
        .not_valid_before(below.not_valid_before_utc)
        .not_valid_after(below.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )
    leaf = maker.new_certificate(middle, "db1", ("db1",), NOW, NOW + DAY).certificate
    trusted = maker.read_authority(root.reveal()).text
    assert maker.read((leaf + crossed).encode(), trusted).ours
    assert not maker.read(leaf.encode(), trusted).ours
