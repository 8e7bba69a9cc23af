"""What every Workspace does, real or fake: to be run by a subclass that provides the fixtures.

`workspace` is an empty one, and `reopen` gives what another process sees of the same one.
"""

import re
from collections.abc import Callable

import pytest

from pgtandem.errors import PgtandemError
from pgtandem.model.names import Secret
from pgtandem.ports.workspace import BuiltNode, Workspace

NODE = BuiltNode("db1", "local", "127.0.0.1", 5432, "/srv/db1")
PASSWORD = "correct-horse-battery"

Reopen = Callable[[], Workspace]


class WorkspaceContract:
    def test_nothing_is_there_at_first(self, workspace: Workspace) -> None:
        assert workspace.secret("replication") is None
        assert workspace.journal() == []
        assert workspace.built_nodes() == ()
        workspace.forget_node("db1")
        workspace.clear()

    def test_secret_is_kept(self, workspace: Workspace, reopen: Reopen) -> None:
        workspace.store_secret("replication", Secret(PASSWORD))
        workspace.store_secret("superuser", Secret("ä\n\"'"))
        workspace.store_secret("superuser", Secret("other"))
        again = reopen()
        assert again.secret("replication") == Secret(PASSWORD)
        assert again.secret("superuser") == Secret("other")
        assert again.secret("missing") is None

    def test_secrets_are_changed_together(self, workspace: Workspace, reopen: Reopen) -> None:
        for name in ("one", "two", "three"):
            workspace.store_secret(name, Secret(name))
        workspace.change_secrets({"one": Secret("other"), "two": None, "four": Secret("four"), "five": None})
        again = reopen()
        found = {name: again.secret(name) for name in ("one", "two", "three", "four", "five")}
        assert found == {
            "one": Secret("other"), "two": None, "three": Secret("three"), "four": Secret("four"), "five": None
        }  # fmt: skip

    def test_new_secrets_are_long_plain_and_different(self, workspace: Workspace) -> None:
        made = {workspace.new_secret().reveal() for _ in range(50)}
        assert len(made) == 50
        assert all(re.fullmatch("[A-Za-z0-9]{33}", text) for text in made)
        assert len({workspace.token() for _ in range(50)}) == 50

    def test_secrets_are_never_shown(self, workspace: Workspace) -> None:
        workspace.store_secret("replication", Secret(PASSWORD))
        assert PASSWORD not in repr(workspace) + str(workspace) + repr(workspace.secret("replication"))
        assert PASSWORD not in repr(vars(workspace))
        workspace.record({"secret": Secret(PASSWORD)})
        assert PASSWORD not in repr(workspace.journal())

    def test_nodes_are_remembered_and_forgotten(self, workspace: Workspace, reopen: Reopen) -> None:
        other = BuiltNode("db2", "local", "127.0.0.1", 5433, "/srv/two\nlines")
        moved = BuiltNode("db1", "local", "127.0.0.1", 5434, "/srv/db1")
        for node in (NODE, other, moved):
            workspace.remember_node(node)
        assert set(reopen().built_nodes()) == {moved, other}
        workspace.forget_node("db1")
        workspace.forget_node("db1")
        assert workspace.built_nodes() == (other,)

    def test_versions_are_remembered_in_place_of_earlier_ones(self, workspace: Workspace, reopen: Reopen) -> None:
        assert workspace.versions() == {}
        workspace.remember_versions({"here /bin/postgres 1": "17.1", "here /opt/postgres 1": "18.4"})
        workspace.remember_versions({"here /bin/postgres 2": "17.2"})
        assert reopen().versions() == {"here /bin/postgres 2": "17.2"}

    def test_login_is_a_name(self, workspace: Workspace) -> None:
        assert workspace.login()

    def test_journal_keeps_entries_in_order(self, workspace: Workspace, reopen: Reopen) -> None:
        entries = [{"step": n, "text": "two\nlines ä"} for n in range(5)]
        for entry in entries:
            reopen().record(entry)
        assert workspace.journal() == entries

    def test_journal_is_not_changed_through_what_was_read_or_written(self, workspace: Workspace) -> None:
        entry = {"steps": ["one"]}
        workspace.record(entry)
        entry["steps"].append("two")
        workspace.journal()[0]["steps"].append("three")
        assert workspace.journal() == [{"steps": ["one"]}]

    def test_entry_that_cannot_be_written_is_refused_before_anything_is(self, workspace: Workspace) -> None:
        workspace.record({"step": 1})
        with pytest.raises(TypeError):
            workspace.record({"step": object()})
        assert workspace.journal() == [{"step": 1}]

    def test_lock_is_free_again_after_an_error(self, workspace: Workspace) -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), workspace.lock("apply"):
                raise ZeroDivisionError
        with workspace.lock("apply"):
            pass

    def test_lock_is_not_given_twice(self, workspace: Workspace, reopen: Reopen) -> None:
        with workspace.lock("apply"):
            with pytest.raises(PgtandemError) as caught, reopen().lock("status"):
                pytest.fail("the lock was given twice")
            assert caught.value.code.text == "PT-5001"
            assert '"apply"' in caught.value.why
        with reopen().lock("status"):
            pass

    def test_lock_says_whether_its_holder_gives_way(self, workspace: Workspace, reopen: Reopen) -> None:
        workspace.give_way(True)
        assert reopen().lock_holder() is None
        with workspace.lock("backup"):
            holder = reopen().lock_holder()
            assert holder is not None
            assert (holder.command, holder.gives_way) == ("backup", False)
            workspace.give_way(True)
            holder = reopen().lock_holder()
            assert holder is not None
            assert holder.gives_way
            with pytest.raises(PgtandemError), reopen().lock("apply"):
                pytest.fail("to give way is to be asked first")
        with workspace.lock("apply"):
            holder = reopen().lock_holder()
            assert holder is not None
            assert not holder.gives_way, "what an earlier holder said is over"

    def test_who_wants_the_lock_is_known_for_as_long_as_that_lasts(self, workspace: Workspace, reopen: Reopen) -> None:
        with workspace.lock("backup"):
            assert workspace.lock_wanted_by() is None
            with reopen().want_lock("failover"):
                wanted = workspace.lock_wanted_by()
                assert wanted is not None
                assert wanted.command == "failover"
                with pytest.raises(PgtandemError) as caught, reopen().want_lock("switchover"):
                    pytest.fail("two want it")
                assert caught.value.code.text == "PT-5001"
            assert workspace.lock_wanted_by() is None

    def test_passfile_is_written_to_one_place(self, workspace: Workspace, reopen: Reopen) -> None:
        path = workspace.write_passfile("*:*:*:*:x\n")
        assert path.startswith("/")
        assert reopen().write_passfile("*:*:*:*:y\n") == path
        assert reopen().write_passfile("*:*:*:*:y\n", restored=True) not in ("", path)

    def test_root_certificate_is_kept_at_one_place(self, workspace: Workspace, reopen: Reopen) -> None:
        assert workspace.root_certificate() is None
        path = workspace.write_root_certificate("one\n")
        assert path.startswith("/")
        assert reopen().write_root_certificate("two\n") == path
        assert workspace.root_certificate() == (path, "two\n")
        workspace.clear()
        assert reopen().root_certificate() is None

    def test_given_file_that_is_not_there_is_told(self, workspace: Workspace) -> None:
        with pytest.raises(PgtandemError) as caught:
            workspace.read_given("/nowhere/ca.crt")
        assert caught.value.code.text == "PT-1002"
        assert "/nowhere/ca.crt" in caught.value.what

    def test_clearing_removes_everything_and_frees_the_lock(self, workspace: Workspace, reopen: Reopen) -> None:
        with workspace.lock("down"):
            workspace.store_secret("replication", Secret(PASSWORD))
            workspace.record({"step": 1})
            workspace.remember_node(NODE)
            workspace.clear()
        again = reopen()
        assert (again.secret("replication"), again.journal(), again.built_nodes()) == (None, [], ())
        with again.lock("up"):
            pass
