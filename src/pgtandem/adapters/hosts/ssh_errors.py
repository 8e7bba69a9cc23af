"""What ssh and sudo say when a host cannot be used, turned into why and what to do next.

ssh ends with 255 for every trouble of its own and tells it on stderr only, so the words are what there is. Pure.
"""

import re
from collections.abc import Callable

from pgtandem.adapters.hosts.ssh_address import SshAddress
from pgtandem.ports.host import HostUnreachable

#: ssh's own words when it does not know the host's key.
UNKNOWN_KEY = re.compile(r"No (?P<type>\S+) host key is known for (?P<host>\S+) and you have requested strict")

#: Our own word where ssh was ended before it said anything, since the host answered nothing.
UNHEARD = "no attempt to connect was answered"

#: ssh's words for the host where a jump host or a ProxyCommand leads to it.
THROUGH_A_PROXY = re.compile(r"UNKNOWN port 65535")

#: sudo's and runuser's own words when there is no such account.
_NO_ACCOUNT = re.compile(r"sudo: unknown user|runuser: user \S+ does not exist")

_MISSES_ACCOUNT = "The host has no account"

_NOISE = re.compile(
    r"^(?:Warning: Permanently added|mux_client|ControlSocket |\*\* |Pseudo-terminal|Connection to \S+ closed\.$"
    r"|Connection closed by|bash: warning: setlocale)"
)

Words = Callable[[re.Match[str], SshAddress, str], tuple[str, str]]


def unreachable(address: SshAddress, said: str, account: str) -> HostUnreachable:
    """The failure to connect that ssh's and the host's words amount to."""
    for pattern, words in _RULES:
        match = pattern.search(said)
        if match:
            why, next_step = words(match, address, account)
            return HostUnreachable(address.name, why, next_step)
    last = last_line(said)
    why = f"ssh said: {last}" if last else "The connection ended without a word from ssh."
    return HostUnreachable(address.name, why, address.command() + "   (by hand, to see more)")


def lost(address: SshAddress, said: str, during: str) -> HostUnreachable:
    """The failure when a connection that worked has ended."""
    silent = re.search(r"Timeout, server .* not responding", said)
    reason = "the host no longer answers" if silent else last_line(said).rstrip(".") or "it was closed"
    why = f"The connection was lost while {during}: {reason}. Whether that was done is not known."
    failure = HostUnreachable(address.name, why, "run the same command again: it looks first at what there is")
    failure.what = f"lost the connection to {address.name}"
    return failure


def given_up(address: SshAddress, seconds: float) -> HostUnreachable:
    """The failure where something more urgent waits than to find out whether the host is only slow."""
    why = f"{address.host} let nobody in within {seconds:g} seconds, and while writes wait it is waited for no longer."
    return HostUnreachable(address.name, why, address.command() + "   (by hand, to see more)")


def misses_account(failure: HostUnreachable) -> bool:
    """Whether the host could be reached, and has no such account."""
    return failure.why.startswith(_MISSES_ACCOUNT)


def last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line)]
    return lines[-1] if lines else ""


def _changed(match: re.Match[str], address: SshAddress, account: str) -> tuple[str, str]:
    said = match.string
    fingerprint = re.search(r"fingerprint for the (\S+) key sent by the remote host is\s+(\S+?)\.?\s", said)
    file = re.search(r"Offending (?:\S+ )?key in (.+):(\d+)", said)
    why = "The host key is not the one that is known: the host was set up anew, or somebody stands in between"
    if fingerprint:
        why += f"; it now shows {fingerprint[1]} {fingerprint[2]}"
    place = f"[{address.host}]:{address.port}" if address.port not in (None, 22) else address.host
    where = f" -f '{file[1]}'" if file else ""
    return why + ".", f"ssh-keygen -R '{place}'{where}   (only when you know why it changed)"


def _refused_key(match: re.Match[str], address: SshAddress, account: str) -> tuple[str, str]:
    methods = match["methods"]
    user = f'user "{match["user"]}"' if match["user"] else "the user"
    return (
        f"The host refused every key that was offered for {user} (it would accept: {methods}).",
        address.command("ssh-copy-id"),
    )


def _sudo(match: re.Match[str], address: SshAddress, account: str) -> tuple[str, str]:
    user = address.user or "USER"
    login = f'user "{address.user}"' if address.user else "the user who logs in"
    asked = match[0].strip().removeprefix("sudo: ")
    return (
        f'sudo does not let {login} act as account "{account}" without asking: {asked}.',
        f"on the host, by visudo -f /etc/sudoers.d/pgtandem:  {user} ALL=({account}) NOPASSWD: ALL",
    )


def _plain(why: str, next_step: str = "") -> Words:
    def words(match: re.Match[str], address: SshAddress, account: str) -> tuple[str, str]:
        values = {"found": match[match.lastindex or 0].strip(), "host": address.host, "account": account}
        filled = next_step.format(**values, ssh=address.command())
        return why.format(**values, port=address.port or "22 (or what ssh's configuration says)"), filled

    return words


_RULES: list[tuple[re.Pattern[str], Words]] = [
    (re.compile(pattern, re.MULTILINE), words)
    for pattern, words in (
        (r"REMOTE HOST IDENTIFICATION HAS CHANGED", _changed),
        (r"REVOKED HOST KEY", _plain("The host shows a key that known_hosts marks as revoked.")),
        (r"^(?:(?P<user>[^@\s]+)@\S+: )?Permission denied \((?P<methods>[^)]*)\)", _refused_key),
        (
            r"Too many authentication failures",
            _plain(
                "The agent offered too many keys before the right one.",
                "name the key in ssh's configuration: IdentityFile and IdentitiesOnly yes, for {host}",
            ),
        ),
        (r"sudo: (?:.*password is required|.*must have a tty.*|.*terminal is required.*)", _sudo),
        (r"^.*(?:is not in the sudoers file|is not allowed to (?:execute|run)).*", _sudo),
        (
            _NO_ACCOUNT.pattern,
            _plain(_MISSES_ACCOUNT + ' "{account}".', "install PostgreSQL there: its packages make the account"),
        ),
        (
            r"sudo: (?:command )?not found|command not found: sudo",
            _plain(
                'The host has no sudo, which acting as account "{account}" needs.',
                "log in as {account} itself, or install sudo",
            ),
        ),
        (r"Could not resolve hostname (.+)", _plain("The name cannot be resolved: {found}.")),
        (
            r"connect to host \S+ port \S+: (Connection refused)",
            _plain(
                "Nothing accepts SSH connections on {host}, port {port}: {found}.", "systemctl start sshd   (there)"
            ),
        ),
        (
            rf"connect to host \S+ port \S+: ((?:Connection|Operation) timed out)|({UNHEARD})",
            _plain("{host} does not answer on port {port}: it is off, cut off, or a firewall drops the packets."),
        ),
        (
            r"(timed out during banner exchange)",
            _plain(
                "{host} takes connections on port {port}, and then says nothing: it hangs, or is overloaded.",
            ),
        ),
        (r"connect to host \S+ port \S+: (.+)", _plain("{host} cannot be reached: {found}.")),
        (r"^Timeout, server .* not responding", _plain("{host} stopped answering.")),
        (
            UNKNOWN_KEY.pattern,
            _plain("The host's key is not known here.", "{ssh}   (once by hand, comparing the fingerprint)"),
        ),
        (
            r"Host key verification failed",
            _plain(
                "The key of a host on the way (ProxyJump) is not known here, or is another than the one that is.",
                "{ssh}   (once by hand, comparing the fingerprint)",
            ),
        ),
        (
            r"kex_exchange_identification: (.+)|^(Connection (?:closed|reset) by .+)",
            _plain(
                "The host ended the connection before the login ({found}); too many may come at once (MaxStartups)."
            ),
        ),
        (r"This account is currently not available|no login|nologin", _plain("The account there may not log in.")),
        (r"((?:Your )?(?:password|account) has expired.*)", _plain("The login is refused: {found}")),
    )
]
