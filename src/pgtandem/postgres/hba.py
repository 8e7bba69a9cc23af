"""pg_hba.conf and pgtandem's own block in it (manual, 21.1). The first match decides, so it stands first."""

from pgtandem.model.value import dataclass

BEGIN = '# begin of pgtandem\'s lines: made from the topology file, changed by "pgtandem apply"'
END = "# end of pgtandem's lines"


@dataclass(frozen=True, slots=True)
class HbaLine:
    """One rule for connections over TCP. `address` is an IP address of one host, a network ("10.0.0.0/24"), or a host
    name (which the server looks up both ways; manual, 21.1)."""

    database: str
    user: str
    address: str
    method: str = "scram-sha-256"
    kind: str = "host"

    def render(self) -> str:
        network = self.address
        if "/" not in network and _is_ip(network):
            network += "/128" if ":" in network else "/32"
        return f"{self.kind:<7} {self.database:<12} {self.user:<22} {network:<20} {self.method}"


#: Nobody is let in over TCP without TLS; "all" among databases does not mean replication (manual, 21.1).
NO_PLAIN = HbaLine("all", "all", "all", "reject", "hostnossl")


def _is_ip(address: str) -> bool:
    return ":" in address or address.replace(".", "").isdigit()


def render_block(lines: tuple[HbaLine, ...]) -> str:
    """The block's inner lines, each ended by a line break."""
    return "".join(line.render() + "\n" for line in lines)


def find_block(text: str) -> str | None:
    """The inner lines of the block, None where there is none, its end is missing, or a rule stands above it."""
    above, begin, rest = text.partition(BEGIN + "\n")
    if any(line.strip() and not line.lstrip().startswith("#") for line in above.splitlines()):
        return None
    inner, end, _ = rest.partition(END)
    return inner if begin and end else None


def with_block(text: str, inner: str) -> str:
    """The file with this block at its head; lines that are not pgtandem's stay as they are.

    Where the block's end is missing, nothing tells its lines from the user's but their text: those that are the same
    as the new ones go.
    """
    before, begin, after = text.partition(BEGIN + "\n")
    if begin and END in after:
        rest = before + after.partition(END)[2].removeprefix("\n")
    else:
        ours = {BEGIN, END, *inner.splitlines()}
        rest = "".join(line for line in text.splitlines(keepends=True) if line.rstrip("\r\n") not in ours)
    return f"{BEGIN}\n{inner}{END}\n{rest}"
