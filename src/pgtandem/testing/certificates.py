"""The port Certificates without cryptography: a certificate is what it says, and names its signer and its key."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from pgtandem.model.names import Secret
from pgtandem.model.observed import Authority, Certificate
from pgtandem.ports.certificates import NewCertificate

_PEM = re.compile(r"-----BEGIN (CERTIFICATE|PRIVATE KEY)-----\n(.*?)\n-----END \1-----", re.DOTALL)


class SimCertificates:
    """Keys are counted, not random: the same run makes the same ones."""

    def __init__(self) -> None:
        self._made = 0

    def new_authority(self, cluster: str, now: float, valid_until: float) -> Secret:
        key = self._new_key()
        name = f"CA of {cluster} {key}"
        content = {"name": name, "key": key, "by": key, "from": now, "until": valid_until, "names": []}
        return Secret(_pem("PRIVATE KEY", {"key": key}) + _pem("CERTIFICATE", content))

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
        signer = _certificates(authority.reveal())[0]
        key = _certificates(same_key_as)[0]["key"] if same_key_as else self._new_key()
        until = min(valid_until, signer["until"])
        content = {"name": name, "key": key, "by": signer["key"], "from": now, "until": until, "names": list(names)}
        made = None if same_key_as else Secret(_pem("PRIVATE KEY", {"key": key}))
        return NewCertificate(_pem("CERTIFICATE", content), made)

    def read_authority(self, text: str) -> Authority:
        found = _certificates(text)
        return Authority("".join(_pem("CERTIFICATE", each) for each in found), min(each["until"] for each in found))

    def read(self, content: bytes, authority: str | None) -> Certificate:
        found = _certificates(content.decode())[0]
        signers = [each["key"] for each in _certificates(authority)] if authority else []
        return Certificate(
            fingerprint=hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest(),
            name=found["name"],
            names=tuple(found["names"]),
            valid_from=found["from"],
            valid_until=found["until"],
            ours=found["by"] in signers,
        )

    def _new_key(self) -> str:
        self._made += 1
        return f"key {self._made}"


def fits(certificate: str, key: str) -> bool:
    """Whether a private key belongs to a certificate."""
    try:
        keys = [each["key"] for kind, each in _blocks(key) if kind == "PRIVATE KEY"]
        return bool(keys) and bool(_certificates(certificate)[0]["key"] == keys[0])
    except ValueError:
        return False


def _pem(kind: str, content: dict[str, Any]) -> str:
    text = base64.b64encode(json.dumps(content, sort_keys=True).encode()).decode()
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n"


def _blocks(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(kind, json.loads(base64.b64decode(content))) for kind, content in _PEM.findall(text)]


def _certificates(text: str) -> list[dict[str, Any]]:
    """Raises ValueError where there is none."""
    found = [content for kind, content in _blocks(text) if kind == "CERTIFICATE"]
    if not found:
        raise ValueError("there is no certificate in this text")
    return found
