"""What the scripts say of a file of the archive that the servers' account may not read."""

from pgtandem.apply.unreadable import KeptFromReading, kept_from_reading
from pgtandem.model.topology import LOCAL, HostAddress


def test_the_file_and_the_account_are_found_in_what_a_servers_log_says() -> None:
    here = (
        "LOG:  starting\nrestore-wal: could not get 000000010000000000000007 from the archive /srv/my archive/7: "
        "/srv/my archive/7/000000010000000000000007 cannot be read by postgres \nFATAL:  could not restore file"
    )
    assert kept_from_reading(here) == KeptFromReading("/srv/my archive/7/000000010000000000000007", "postgres")
    there = "fetch-wal: could not get X from archive: serve-wal: /srv/7/X.zst cannot be read by archive \n"
    assert kept_from_reading(there) == KeptFromReading("/srv/7/X.zst", "archive")
    assert kept_from_reading("cat: /srv/7/X: No such file or directory") is None


def test_the_command_names_the_host_and_quotes_the_path() -> None:
    found = KeptFromReading("/srv/my archive/7/X", "postgres")
    assert found.next_step(LOCAL, "pgtandem drill").startswith("chown postgres '/srv/my archive/7/X' && chmod 600 ")
    assert "(as root on archive@10.0.0.9), then pgtandem drill" in found.next_step(
        HostAddress("ssh://archive@10.0.0.9"), "pgtandem drill"
    )
