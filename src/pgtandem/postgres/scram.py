"""SCRAM-SHA-256 verifiers as PostgreSQL keeps them in pg_authid (RFC 5803, RFC 7677; manual, 53.3 and 21.5).

With a verifier a role gets its password without the password ever being sent, and what a server has stored can
be compared with a password that is known here.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode

_SCHEME = "SCRAM-SHA-256"


def verifier(password: str, salt: bytes, iterations: int = 4096) -> str:
    """`SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`, as `ALTER ROLE ... PASSWORD` takes it.

    PostgreSQL normalises passwords by SASLprep, which leaves ASCII as it is: anything else raises ValueError, as
    do an empty password and an empty salt, which no server would accept.
    """
    if not password or not password.isascii():
        raise ValueError("a password for a SCRAM verifier has one ASCII character or more, and nothing else")
    if not salt or iterations < 1:
        raise ValueError("a SCRAM verifier needs a salt and at least one iteration")
    stored_key, server_key = _keys(password, salt, iterations)
    return f"{_SCHEME}${iterations}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def is_verifier(text: str) -> bool:
    """Whether a text is a whole verifier: a server stores it as it is, and does not take it for a password."""
    return _parse(text) is not None


def matches(password: str, verifier: str) -> bool:
    """Whether the verifier was made from this password; False for anything that is no such verifier."""
    parts = _parse(verifier)
    if parts is None or not password or not password.isascii():
        return False
    salt, iterations, stored_key, server_key = parts
    expected_stored, expected_server = _keys(password, salt, iterations)
    stored_same = hmac.compare_digest(expected_stored, stored_key)
    return hmac.compare_digest(expected_server, server_key) and stored_same


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _parse(text: str) -> tuple[bytes, int, bytes, bytes] | None:
    """Salt, iterations, StoredKey and ServerKey."""
    scheme, _, rest = text.partition("$")
    head, _, keys = rest.partition("$")
    iterations, _, salt = head.partition(":")
    stored_key, _, server_key = keys.partition(":")
    if scheme != _SCHEME or not (iterations.isascii() and iterations.isdigit()) or int(iterations) < 1:
        return None
    try:
        parts = [b64decode(part, validate=True) for part in (salt, stored_key, server_key)]
    except ValueError:
        return None
    if not parts[0] or len(parts[1]) != 32 or len(parts[2]) != 32:
        return None
    return parts[0], int(iterations), parts[1], parts[2]


def _text(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def stored_kind(stored: str | None) -> str:
    """What pg_authid.rolpassword holds: "none", "scram-sha-256", "md5", or "plain", which is left by an upgrade from
    9.6 or older only."""
    if stored is None:
        return "none"
    if is_verifier(stored):
        return "scram-sha-256"
    return "md5" if stored.startswith("md5") and len(stored) == 35 else "plain"
