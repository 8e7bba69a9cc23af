"""Connection texts of libpq: keyword/value and URI form, and the password file (manual, 32.1.1 and 32.16)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from pgtandem.model.names import Secret


def render_conninfo(parameters: Mapping[str, str | int]) -> str:
    """The keyword/value form; values that need it are quoted."""
    parts = []
    for key, value in parameters.items():
        text = str(value)
        if not text or any(character in text for character in " '\\\t"):
            text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        parts.append(f"{key}={text}")
    return " ".join(parts)


def parse_conninfo(text: str) -> dict[str, str]:
    """The other way. Raises ValueError for a text that is not of the form."""
    parameters: dict[str, str] = {}
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return parameters
        equals = text.find("=", at)
        if equals < 0:
            raise ValueError(f"no '=' after {text[at:]!r}")
        key, at, value = text[at:equals].strip(), equals + 1, ""
        while at < len(text) and text[at].isspace():
            at += 1
        quoted = at < len(text) and text[at] == "'"
        at += quoted
        while at < len(text) and (text[at] != "'" if quoted else not text[at].isspace()):
            if text[at] == "\\" and at + 1 < len(text):
                at += 1
            value += text[at]
            at += 1
        if quoted:
            if at == len(text):
                raise ValueError("a quoted value has no end")
            at += 1
        parameters[key] = value


def render_uri(hosts: Sequence[tuple[str, int]], user: str, database: str, parameters: Mapping[str, str]) -> str:
    """A URI that names every host: clients try one after the other (manual, 32.1.1.3)."""
    where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)
    query = "&".join(f"{key}={quote(value, safe='/')}" for key, value in parameters.items())
    return f"postgresql://{quote(user, safe='')}@{where}/{quote(database, safe='')}" + (f"?{query}" if query else "")


def render_passfile(entries: Iterable[tuple[str, int | None, str, Secret]]) -> str:
    """Lines host:port:*:user:password (no port: any); colons and backslashes are escaped. The text holds secrets."""

    def escape(text: str) -> str:
        return text.replace("\\", "\\\\").replace(":", "\\:")

    return "".join(
        f"{escape(host)}:{port or '*'}:*:{escape(user)}:{escape(secret.reveal())}\n"
        for host, port, user, secret in entries
    )


def parse_passfile(text: str) -> list[tuple[str, int, str, Secret]]:
    """The entries that `render_passfile` wrote; lines of another form are left out. They hold secrets."""
    entries = []
    for line in text.splitlines():
        parts = [re.sub(r"\\(.)", r"\1", part) for part in re.findall(r"(?:^|:)((?:[^:\\]|\\.)*)", line)]
        if len(parts) == 5 and parts[1].isdigit() and not line.startswith("#"):
            entries.append((parts[0], int(parts[1]), parts[3], Secret(parts[4])))
    return entries


_PASSWORD = re.compile(
    r"((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.|'')*'|[^\s']+)|(://[^:/@\s]*:)[^@\s]+(?=@)", re.IGNORECASE
)


def mask_passwords(text: str) -> str:
    """The same with each password of connection parameters or of a URI masked."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[3]}****", text)
