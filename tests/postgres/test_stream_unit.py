"""The receiver's systemd unit: whose it is."""

from pgtandem.postgres.stream_unit import is_of, render_unit

FOLDER = '/srv/a $1 "b" %/7000'


def test_a_unit_is_of_one_cluster_in_one_archive() -> None:
    text = render_unit("shop", "/srv/a", FOLDER, "bob")
    assert is_of(text, "/srv/a", FOLDER)
    assert is_of(text, "/srv/a", "")
    assert not is_of(text, "/srv/b", FOLDER)
    assert not is_of(text, "/srv/a", FOLDER.replace("7000", "7001")), "of the same name, in the same archive"
    assert not is_of(text, "/srv/a", FOLDER.removesuffix("0"))
    assert not is_of("[Unit]\n", "/srv/a", "")
