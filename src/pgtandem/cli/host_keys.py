"""Host keys that are not known yet, shown with their fingerprint and asked for: one host after the other."""

import asyncio

from pgtandem.adapters.hosts.ssh_keys import AskForKey, UnknownHostKey
from pgtandem.cli.terminal import ask, can_ask


def ask_for_key() -> AskForKey | None:
    """Who asks the user, or None where there is no terminal to ask on."""
    if not can_ask():
        return None
    turn = asyncio.Lock()  # many hosts are connected to at once, and only one can be asked about

    async def ask_user(key: UnknownHostKey) -> bool:
        async with turn:
            print(
                f"The SSH key of host {key.host} is not known here:\n"
                f"  {key.key_type} {key.fingerprint}\n"
                f"Compare it on the host:  ssh-keygen -lf /etc/ssh/ssh_host_{key.key_type.lower()}_key.pub"
            )
            return ask(f"Is it the same, and shall it be kept in {key.known_hosts}?")

    return ask_user
