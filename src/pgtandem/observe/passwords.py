"""What is stored of the cluster's passwords: which, and whether a change of them is under way."""

import hashlib

from pgtandem.model.passwords import Passwords
from pgtandem.ports import REPLICATION_SECRET, SUPERUSER_SECRET, Workspace, former_of, next_of


def observe_passwords(workspace: Workspace) -> Passwords:
    secrets = [workspace.secret(name) for name in (SUPERUSER_SECRET, REPLICATION_SECRET)]
    text = "\0".join(secret.reveal() if secret else "" for secret in secrets)
    return Passwords(
        # Of 192 random bits each, so that nothing can be found out from it.
        which=hashlib.sha256(text.encode()).hexdigest()[:16],
        superuser=secrets[0] is not None,
        next=workspace.secret(next_of(REPLICATION_SECRET)) is not None,
        former=workspace.secret(former_of(REPLICATION_SECRET)) is not None,
        former_superuser=workspace.secret(former_of(SUPERUSER_SECRET)) is not None,
    )
