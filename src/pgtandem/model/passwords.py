"""What is known of the passwords that are stored, without any of them."""

from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Passwords:
    """The stored passwords of the superuser and of the replication role.

    `which` tells one pair from another, and nothing else of it; `superuser` says whether that one's is stored at all.
    While they are changed there are the `next` ones too, until the roles have them, and then the `former` ones, until
    every standby is seen to stream with the new one, and every node to know the superuser's."""

    which: str = ""
    superuser: bool = True
    next: bool = False
    former: bool = False
    former_superuser: bool = False
