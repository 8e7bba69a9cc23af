"""What every Certificates does, real or fake: to be run by a subclass that provides the fixture."""

import pytest

from pgtandem.model.names import Secret
from pgtandem.ports.certificates import Certificates

NOW = 1_800_000_000.0
DAY = 24 * 3600.0
NAMES = ("10.0.0.1", "db1.example", "2001:db8::1", "dns:10.0.0.1")


@pytest.fixture
def ca(certificates: Certificates) -> Secret:
    return certificates.new_authority("shop", NOW, NOW + 1000 * DAY)


class CertificatesContract:
    def test_authority_is_a_key_and_a_certificate(self, certificates: Certificates, ca: Secret) -> None:
        read = certificates.read_authority(ca.reveal())
        assert read.valid_until == NOW + 1000 * DAY
        assert "PRIVATE KEY" in ca.reveal()
        assert "PRIVATE KEY" not in read.text
        assert read.text in ca.reveal()
        assert certificates.read_authority(read.text) == read

    def test_certificate_says_what_was_asked_for(self, certificates: Certificates, ca: Secret) -> None:
        made = certificates.new_certificate(ca, "db1", NAMES, NOW, NOW + 365 * DAY)
        authority = certificates.read_authority(ca.reveal()).text
        read = certificates.read(made.certificate.encode(), authority)
        assert (read.name, read.names, read.valid_until) == ("db1", NAMES, NOW + 365 * DAY)
        assert read.valid_from <= NOW
        assert read.ours
        assert made.key is not None
        assert "PRIVATE KEY" in made.key.reveal()
        assert "PRIVATE KEY" not in made.certificate

    def test_certificate_of_another_authority_is_not_ours(self, certificates: Certificates, ca: Secret) -> None:
        other = certificates.new_authority("shop", NOW, NOW + 1000 * DAY)
        made = certificates.new_certificate(other, "db1", NAMES, NOW, NOW + DAY).certificate.encode()
        ours, theirs = (certificates.read_authority(secret.reveal()).text for secret in (ca, other))
        found = [certificates.read(made, text).ours for text in (ours, theirs, ours + theirs, None)]
        assert found == [False, True, True, False]

    def test_authorities_of_several_cas_are_read_together(self, certificates: Certificates, ca: Secret) -> None:
        shorter = certificates.new_authority("shop", NOW, NOW + 10 * DAY)
        texts = [certificates.read_authority(secret.reveal()).text for secret in (ca, shorter)]
        both = certificates.read_authority("".join(texts))
        assert (both.text, both.valid_until) == ("".join(texts), NOW + 10 * DAY)

    def test_renewed_certificate_is_for_the_same_key(self, certificates: Certificates, ca: Secret) -> None:
        first = certificates.new_certificate(ca, "db1", NAMES, NOW, NOW + DAY)
        again = certificates.new_certificate(ca, "db1", NAMES, NOW, NOW + 9 * DAY, same_key_as=first.certificate)
        assert again.key is None
        one, two = (certificates.read(made.certificate.encode(), None) for made in (first, again))
        assert one.fingerprint != two.fingerprint
        assert two.valid_until == NOW + 9 * DAY

    def test_certificate_does_not_outlive_its_authority(self, certificates: Certificates, ca: Secret) -> None:
        made = certificates.new_certificate(ca, "db1", NAMES, NOW, NOW + 9000 * DAY)
        assert certificates.read(made.certificate.encode(), None).valid_until == NOW + 1000 * DAY

    @pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
    def test_what_is_no_certificate_is_told(self, certificates: Certificates, text: str) -> None:
        with pytest.raises(ValueError, match=r".*"):
            certificates.read(text.encode(), None)
        with pytest.raises(ValueError, match=r".*"):
            certificates.read_authority(text)
