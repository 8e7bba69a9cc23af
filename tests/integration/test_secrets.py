"""No password reaches a command line, a log, the journal, or a file that others can read."""

import os
import threading
from pathlib import Path

from support.clusters import Cluster
from support.processes import command_lines


def test_passwords_stay_in_private_files() -> None:
    with Cluster(standbys=2, replication={"synchronous": "any 1"}) as cluster:
        seen: set[str] = set()
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                seen.update(words for _, words in command_lines())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            said = [cluster.up().said]
            said += [
                cluster.run(*words).said for words in (("status",), ("plan", "--json"), ("uri",), ("uri", "--json"))
            ]
        finally:
            stop.set()
            watcher.join()
        secrets = list(cluster.secrets().values())
        assert len(secrets) == 2
        assert all(len(secret) >= 24 for secret in secrets)
        assert any("pg_ctl" in words for words in seen), "the watch saw the commands"
        for secret in secrets:
            assert not [words for words in seen if secret in words]
            assert not [text for text in said if secret in text]
            assert holders(cluster.folder, secret) <= allowed(cluster)


def allowed(cluster: Cluster) -> set[str]:
    own = {".pgtandem/secrets.json", ".pgtandem/passfile"}
    return own | {
        os.path.relpath(cluster.data(name) / "pgtandem" / "passfile", cluster.folder) for name in cluster.nodes
    }


def holders(folder: Path, secret: str) -> set[str]:
    """The files below a folder that hold the secret; those that do are private."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path
            found.add(str(path.relative_to(folder)))
    return found
