"""A connection text of libpq, as somebody gives it on the command line."""

from dataclasses import dataclass

from pgtandem.errors import PgtandemError
from pgtandem.model.names import SUPERUSER, Secret


@dataclass(frozen=True, slots=True)
class Dsn:
    """One server: where it is, and as whom with which password it is asked."""

    host: str
    port: int
    user: str
    password: Secret | None
    encrypted: bool = False
    root_certificate: str | None = None

    @property
    def local(self) -> bool:
        return self.host in ("", "localhost", "127.0.0.1", "::1") or self.host.startswith("/")

    @property
    def url_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def name(self) -> str:
        """As messages call it: never with the password."""
        return f"{self.url_host or 'localhost'}:{self.port}"


def parse_dsn(text: str) -> Dsn:
    """A URI or keywords and values. Raises PgtandemError PT-1006, in whose words the password does not stand."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = {key: str(value) for key, value in conninfo_to_dict(text).items() if value is not None}
    except ProgrammingError:
        raise _refused("a DSN after --dsn cannot be read") from None
    host = found.get("host") or found.get("hostaddr", "")
    port = found.get("port", "5432")
    if "," in host or "," in port:
        raise _refused("a DSN names several servers: give --dsn once for each")
    if not port.isdigit():
        raise _refused(f'"{port}" in a DSN is no port')
    password = Secret(found["password"]) if found.get("password") else None
    encrypted = found.get("sslmode", "") in ("require", "verify-ca", "verify-full")
    root = found.get("sslrootcert") if encrypted else None
    return Dsn(host, int(port), found.get("user", SUPERUSER), password, encrypted, root)


def _refused(what: str) -> PgtandemError:
    return PgtandemError("PT-1006", what, next_step="for example --dsn postgres://postgres@10.0.0.1:5432")
