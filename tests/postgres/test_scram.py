import hashlib
import hmac
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.postgres import scram

# RFC 7677, section 3: user "user", password "pencil".
RFC_SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
RFC_SERVER_FIRST = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
RFC_AUTH_MESSAGE = (
    f"n=user,r=rOprNGfwEbeRWgbNEkqO,{RFC_SERVER_FIRST},c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
RFC_CLIENT_PROOF = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
RFC_SERVER_SIGNATURE = b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

# What PostgreSQL 10.23, 15.18 and 18.4 had in pg_authid after ALTER ROLE ... PASSWORD 'one Of Ours: 7$'.
FROM_SERVERS = {
    "10.23": "SCRAM-SHA-256$4096:BeWW15XBVHW8MYWWuORV3Q==$zG2ithERSI2ODUUlvCTGU3aQKOod4CrlEv4ly/8+S0k=:"
    "FZM7LsQLknuctm/R0DRW7ATSa/RijsdRJ2uaO+7KO10=",
    "15.18": "SCRAM-SHA-256$4096:be/Q8hHc/vPfusTX9QpOMA==$nekdt9XE7cgckn5pzMTpZ9GNA8qCTCt1Ek5ULsd8P0E=:"
    "NflNOMjROtprdEs8vgIJ3g5YUqBvQ3aGVX9ALdTn7vg=",
    "18.4": "SCRAM-SHA-256$4096:lSNakXcnRvJDEpBuaj2M8w==$mDRG8+IPC0lXN5Tpda6tRdVpOMTHCX6quAdPd4vRMAQ=:"
    "kFlxnmCJD65s37uHufuWsEKj3+LVwOFo/dcWrjJ4QIY=",
}
RECORDED_PASSWORD = "one Of Ours: 7$"

PASSWORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)
SALTS = st.binary(min_size=1, max_size=40)


def test_keys_prove_the_exchange_of_rfc_7677() -> None:
    keys = scram.verifier("pencil", RFC_SALT, 4096).split("$")[2]
    stored_key, server_key = (b64decode(key) for key in keys.split(":"))
    message = RFC_AUTH_MESSAGE.encode()
    assert hmac.digest(server_key, message, "sha256") == RFC_SERVER_SIGNATURE
    signature = hmac.digest(stored_key, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(RFC_CLIENT_PROOF, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key


@pytest.mark.parametrize("stored", FROM_SERVERS.values(), ids=FROM_SERVERS.keys())
def test_verifier_of_a_real_server_is_made_again_and_matches(stored: str) -> None:
    salt = b64decode(stored.split("$")[1].split(":")[1])
    assert scram.verifier(RECORDED_PASSWORD, salt) == stored
    assert scram.matches(RECORDED_PASSWORD, stored)
    assert not scram.matches(RECORDED_PASSWORD + " ", stored)


@given(PASSWORDS, SALTS, st.integers(1, 50))
def test_verifier_matches_its_password_and_no_other(password: str, salt: bytes, iterations: int) -> None:
    made = scram.verifier(password, salt, iterations)
    assert scram.is_verifier(made)
    assert scram.matches(password, made)
    assert not scram.matches(password + "x", made)


@given(st.text())
def test_any_other_text_is_no_verifier(text: str) -> None:
    assert not scram.is_verifier(text)
    assert not scram.matches("secret", text)


GOOD = scram.verifier("secret", b"0123456789abcdef", 2)


@pytest.mark.parametrize(
    "spoilt",
    [
        "",
        "md5" + "0" * 32,
        "secret",
        GOOD.replace("SCRAM-SHA-256", "SCRAM-SHA-512"),
        GOOD.replace("$2:", "$0:"),
        GOOD.replace("$2:", "$-2:"),
        GOOD.replace("$2:", "$two:"),
        GOOD.replace("$2:", "$\u00b2:"),
        GOOD[:-4],
        GOOD + "=",
        GOOD + "$",
        GOOD.rpartition(":")[0],
        GOOD.rpartition("$")[0],
        GOOD.replace("MDEyMzQ1Njc4OWFiY2RlZg==", ""),
        GOOD.replace("MDEyMzQ1Njc4OWFiY2RlZg==", "M!"),
    ],
)
def test_spoilt_verifier_matches_nothing(spoilt: str) -> None:
    assert scram.matches("secret", GOOD)
    assert not scram.is_verifier(spoilt)
    assert not scram.matches("secret", spoilt)


@pytest.mark.parametrize("password", ["", "Geh\u00e4use", "\u212b", "pass\u00a0word"])
def test_password_that_postgresql_would_normalise_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        scram.verifier(password, b"0123456789abcdef")
    assert not scram.matches(password, GOOD)


def test_empty_salt_and_no_iteration_are_refused() -> None:
    with pytest.raises(ValueError, match="salt"):
        scram.verifier("secret", b"")
    with pytest.raises(ValueError, match="iteration"):
        scram.verifier("secret", b"salt", 0)
