"""pgtandem's lines in authorized_keys: never anybody else's, and the same again changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtandem.openssh.authorized_keys import (
    Grant,
    granted_nodes,
    is_let_in_to_another,
    is_of,
    served_folder,
    with_grant,
    without_grant,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43
SYSTEM = "7000"
COMMAND = ("sh", '/srv/o\'brien "x"/serve-wal', "/arc\\hive's \\\"/7000", "put")


def grant(node: str = "db1", cluster: str = "shop", key: str = KEY) -> Grant:
    return Grant(cluster, node, key, COMMAND)


foreign_line = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"",
            b"# a comment",
            b"ssh-rsa AAAAB3 somebody@somewhere",
            b"ssh-ed25519 AAAA pgtandem:shop:db1",  # the comment alone does not make it ours
            b'restrict,command="sh x" ssh-ed25519 AAAA pgtandem:shop:db10',
            b'restrict,command="sh x" ssh-ed25519 AAAA pgtandem:shop2:db1',
            b'restrict,command="sh x /archive/7001 put" ssh-ed25519 AAAA pgtandem:shop:db1',  # of the same names
            b'restrict,command="sh x /archive/17000" ssh-ed25519 AAAA pgtandem:shop:db1',
            b'restrict,command="rsync" ssh-ed25519 AAAA backup',
            b"ssh-ed25519 AAAA windows\r",
            b"caf\xe9 \xff",
        ]
    ),
).filter(lambda line: b"\n" not in line and not is_of(line, "shop", "db1", SYSTEM))
foreign = st.lists(foreign_line, max_size=6).map(b"\n".join)


@given(foreign)
def test_other_lines_stay_byte_for_byte_and_in_their_order(text: bytes) -> None:
    added = with_grant(text, grant())
    kept = [line for line in added.split(b"\n") if not is_of(line, "shop", "db1", SYSTEM)]
    before = text.split(b"\n")
    assert kept == before + ([b""] if before[-1] else [])
    assert sum(is_of(line, "shop", "db1", SYSTEM) for line in added.split(b"\n")) == 1
    assert added.endswith(b"\n")


@given(foreign)
def test_the_same_again_changes_nothing(text: bytes) -> None:
    once = with_grant(text, grant())
    assert with_grant(once, grant()) == once


@given(foreign)
def test_added_and_removed_leaves_the_file_as_it_was(text: bytes) -> None:
    end = b"\n" if text.split(b"\n")[-1] else b""
    assert without_grant(with_grant(text, grant()), "shop", "db1", SYSTEM) == text + end
    assert without_grant(text, "shop", "db1", SYSTEM) == text


@given(foreign)
def test_a_new_key_takes_the_place_of_the_old_one(text: bytes) -> None:
    new = grant(key=KEY.replace("B", "C"))
    old = with_grant(with_grant(text, grant()), grant("db2"))
    changed = with_grant(old, new)
    assert changed == old.replace(grant().render(), new.render())
    assert granted_nodes(changed, "shop", SYSTEM)[-1] == "db2"


def test_a_line_that_somebody_doubled_is_one_again() -> None:
    text = grant().render() + b"\n# between\n" + grant(key=KEY.replace("B", "C")).render() + b"\n"
    assert with_grant(text, grant()) == grant().render() + b"\n# between\n"


def test_a_line_that_lost_its_restrictions_is_replaced() -> None:
    for weakened in (grant().render().removeprefix(b"restrict,"), f"{KEY} pgtandem:shop:db1".encode()):
        assert with_grant(b"# first\n" + weakened + b"\n", grant()) == b"# first\n" + grant().render() + b"\n"


def test_each_cluster_has_its_own_lines() -> None:
    text = with_grant(with_grant(b"", grant()), grant(cluster="bank"))
    assert granted_nodes(text, "shop", SYSTEM) == granted_nodes(text, "bank", SYSTEM) == ("db1",)
    assert without_grant(text, "bank", "db1", SYSTEM) == grant().render() + b"\n"


def test_the_line_allows_the_command_and_nothing_else() -> None:
    line = Grant("shop", "db1", KEY, ("sh", "/a b/serve-wal", "/archive/7000")).render()
    assert line == f"restrict,command=\"sh '/a b/serve-wal' /archive/7000\" {KEY} pgtandem:shop:db1".encode()


@pytest.mark.parametrize("path", ["/a\nb", "/a\rb", "/a\0b"])
def test_what_would_be_more_than_one_line_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="more than one line"):
        Grant("shop", "db1", KEY, ("sh", path)).render()


def test_two_clusters_of_one_name_whose_nodes_have_one_name_keep_their_lines() -> None:
    other = Grant("shop", "db1", KEY.replace("B", "C"), ("sh", ".ssh/serve-wal", "/archive/7001", "put"))
    text = with_grant(with_grant(b"", other), grant())
    assert text == other.render() + b"\n" + grant().render() + b"\n"
    assert with_grant(with_grant(text, other), grant()) == text
    assert granted_nodes(text, "shop", "7001") == granted_nodes(text, "shop", SYSTEM) == ("db1",)
    assert granted_nodes(text, "shop", "") == granted_nodes(text, "shop", "7002") == ()
    assert without_grant(text, "shop", "db1", "7001") == grant().render() + b"\n"
    assert without_grant(text, "shop", "db1", "") == text


def test_a_key_that_two_clusters_share_is_seen() -> None:
    text = grant().render() + b"\n"
    assert is_let_in_to_another(text, KEY, "7001")
    assert not is_let_in_to_another(text, KEY, SYSTEM)
    assert not is_let_in_to_another(text, KEY.replace("B", "C"), "7001")


def test_the_folder_of_a_line_is_read_as_sshd_and_its_shell_read_it() -> None:
    assert served_folder(grant().render()) == COMMAND[2]
    assert served_folder(b'restrict,command="sh x" ssh-ed25519 AAAA pgtandem:shop:db1') == ""
    assert served_folder(b'restrict,command="sh x \'y" ssh-ed25519 AAAA pgtandem:shop:db1') == ""
    assert served_folder(b"ssh-ed25519 AAAA me") == ""
