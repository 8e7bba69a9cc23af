"""What every Session does, real or fake: to be run by a subclass that provides the fixtures.

`session` is a session on a primary that has no proof, no replication role and no slot of pgtandem; `standby_session`
is one on a hot standby that streams from this primary.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pgtandem.model.names import REPLICATION_ROLE, REWIND_ROLE, SUPERUSER, Secret, SlotName
from pgtandem.ports.database import DatabaseRefused, DatabaseUnreachable, Session
from pgtandem.postgres import scram

SLOT = SlotName("pgtandem_contract")
VERIFIER = scram.verifier("right", b"0123456789abcdef")


class SessionContract:
    @pytest.fixture
    def runner(self) -> Iterator[asyncio.Runner]:
        with asyncio.Runner() as runner:
            yield runner

    @pytest.fixture
    def session(self, runner: asyncio.Runner) -> Session:
        raise NotImplementedError

    @pytest.fixture
    def standby_session(self, runner: asyncio.Runner, session: Session) -> Session:
        raise NotImplementedError

    # --- observing

    def test_primary_tells_what_it_is(self, runner: asyncio.Runner, session: Session) -> None:
        server = runner.run(session.observe(None))
        assert not server.in_recovery
        assert server.timeline >= 1
        assert server.current_lsn is not None
        assert server.oldest_lsn is not None
        assert server.oldest_lsn <= server.current_lsn
        assert (server.receive_lsn, server.replay_lsn, server.replay_age_seconds) == (None, None, None)
        assert server.receiver is None
        assert int(server.system_identifier) > 0
        assert server.settings["wal_level"].value in ("replica", "logical")
        assert server.settings["datestyle"].value.upper().startswith("ISO")
        assert all(name == name.lower() for name in server.settings)
        assert server.roles["postgres"].superuser
        assert server.size_bytes > 0
        assert server.proof_token is None

    def test_standby_tells_what_it_is(self, runner: asyncio.Runner, session: Session, standby_session: Session) -> None:
        primary = runner.run(session.observe(None))
        standby = runner.run(standby_session.observe(None))
        assert standby.in_recovery
        assert standby.timeline == primary.timeline
        assert standby.system_identifier == primary.system_identifier
        assert standby.current_lsn is None
        assert standby.replay_lsn is not None
        assert not standby.replay_paused
        assert standby.receiver is not None
        assert standby.receiver.status == "streaming"
        assert [sender.state for sender in primary.senders] == ["streaming"]

    def test_a_password_is_set_and_nothing_else_of_the_role_changes(
        self, runner: asyncio.Runner, session: Session
    ) -> None:
        runner.run(session.put_replication_role(REPLICATION_ROLE, scram.verifier("wrong", b"0123456789abcdef")))
        before = runner.run(session.observe(Secret("right"))).roles[REPLICATION_ROLE]
        assert before.password_matches is False
        runner.run(session.set_superuser_password(REPLICATION_ROLE, VERIFIER))
        after = runner.run(session.observe(Secret("right"))).roles[REPLICATION_ROLE]
        assert after.password_matches is True
        assert (after.replication, after.login, after.superuser) == (before.replication, before.login, before.superuser)
        with pytest.raises(ValueError, match="not a SCRAM"):
            runner.run(session.set_superuser_password(REPLICATION_ROLE, "right"))
        with pytest.raises(DatabaseRefused, match="set the password of nobody"):
            runner.run(session.set_superuser_password("nobody", VERIFIER))

    def test_a_role_loses_login_and_replication_but_a_superuser_does_not(
        self, runner: asyncio.Runner, session: Session
    ) -> None:
        runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))
        runner.run(session.disable_role(REPLICATION_ROLE))
        role = runner.run(session.observe(None)).roles[REPLICATION_ROLE]
        assert (role.login, role.replication) == (False, False)
        runner.run(session.disable_role("nobody_of_that_name"))
        with pytest.raises(DatabaseRefused, match="disable the role postgres"):
            runner.run(session.disable_role("postgres"))
        assert runner.run(session.observe(None)).roles["postgres"].login

    def test_nobody_is_woken_where_wal_is_not_summarized(self, runner: asyncio.Runner, session: Session) -> None:
        assert runner.run(session.wake_summarizer()) is False

    def test_a_primary_has_no_replay_to_go_on_with(self, runner: asyncio.Runner, session: Session) -> None:
        with pytest.raises(DatabaseRefused, match="go on with its replay"):
            runner.run(session.resume_replay())

    def test_position_grows_with_what_is_written(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        in_recovery, before = runner.run(session.position())
        runner.run(session.finish_segment())
        _, after = runner.run(session.position())
        assert not in_recovery
        assert before is not None
        assert after is not None
        assert before < after
        assert runner.run(standby_session.position())[0]

    def test_checkpoint_is_made_on_both(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        runner.run(session.checkpoint())
        runner.run(standby_session.checkpoint())

    # --- the role

    def test_role_is_put_with_the_least_rights(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))
        role = runner.run(session.observe(Secret("right"))).roles[REPLICATION_ROLE]
        assert (role.login, role.replication, role.superuser, role.connection_limit) == (True, True, False, -1)
        assert (role.password_kind, role.password_matches) == ("scram-sha-256", True)

    def test_role_that_is_there_gets_the_new_password(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))
        runner.run(session.put_replication_role(REPLICATION_ROLE, scram.verifier("new", b"salt")))
        roles = [runner.run(session.observe(Secret(text))).roles[REPLICATION_ROLE] for text in ("right", "new")]
        assert [role.password_matches for role in roles] == [False, True]

    def test_password_that_nobody_knows_is_not_compared(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))
        assert runner.run(session.observe(None)).roles[REPLICATION_ROLE].password_matches is None

    def test_password_itself_is_never_taken_for_a_verifier(self, runner: asyncio.Runner, session: Session) -> None:
        with pytest.raises(ValueError, match="verifier"):
            runner.run(session.put_replication_role(REPLICATION_ROLE, "right"))
        assert REPLICATION_ROLE not in runner.run(session.observe(None)).roles

    def test_password_of_a_role_is_set_and_nothing_else_of_it(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.put_replication_role(REPLICATION_ROLE, VERIFIER))
        before = runner.run(session.observe(Secret("new"))).roles[REPLICATION_ROLE]
        runner.run(session.set_password(REPLICATION_ROLE, scram.verifier("new", b"salt")))
        after = runner.run(session.observe(Secret("new"))).roles[REPLICATION_ROLE]
        assert before.password_matches is False
        assert after == replace(before, password_matches=True)
        with pytest.raises(ValueError, match="verifier"):
            runner.run(session.set_password(REPLICATION_ROLE, "new"))

    def test_password_of_the_superuser_is_compared_where_it_is_asked_for(
        self, runner: asyncio.Runner, session: Session
    ) -> None:
        assert runner.run(session.observe(None, Secret("surely not"))).roles[SUPERUSER].password_matches is False
        assert runner.run(session.observe(None)).roles[SUPERUSER].password_matches is None

    def test_connection_of_a_standby_that_is_not_there_is_ended_without_a_word(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        before = runner.run(session.observe(None)).senders
        runner.run(session.end_sender("nobody"))
        assert [sender.pid for sender in runner.run(session.observe(None)).senders] == [s.pid for s in before]

    def test_role_for_a_rewind_is_there_until_it_is_dropped(self, runner: asyncio.Runner, session: Session) -> None:
        for _ in range(2):
            runner.run(session.put_rewind_role(REWIND_ROLE, VERIFIER, 60))
            role = runner.run(session.observe(None)).roles[REWIND_ROLE]
            assert (role.login, role.replication, role.superuser) == (True, False, False)
        for _ in range(2):
            runner.run(session.drop_role(REWIND_ROLE))
            assert REWIND_ROLE not in runner.run(session.observe(None)).roles
        with pytest.raises(ValueError, match="verifier"):
            runner.run(session.put_rewind_role(REWIND_ROLE, "right", 60))

    # --- the second look

    def test_primary_and_standby_can_be_examined(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        runner.run(session.create_slot(SLOT))
        for each in (session, standby_session):
            examination = runner.run(each.examine())
            assert not examination.waiting_commits
            assert not examination.exclusive_backup

    # --- slots

    def test_slot_keeps_wal_from_the_start(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.create_slot(SLOT))
        slot = runner.run(session.observe(None)).slots[SLOT]
        assert (slot.kind, slot.active, slot.active_pid) == ("physical", False, None)
        assert slot.restart_lsn is not None
        assert slot.held_bytes is not None
        assert slot.held_bytes >= 0

    def test_slot_that_is_there_stays(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.create_slot(SLOT))
        before = runner.run(session.observe(None)).slots[SLOT].restart_lsn
        runner.run(session.finish_segment())
        runner.run(session.create_slot(SLOT))
        assert runner.run(session.observe(None)).slots[SLOT].restart_lsn == before

    def test_wal_can_be_kept_for_a_while(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.keep_wal("for_a_while"))
        slot = runner.run(session.observe(None)).slots.get("for_a_while")
        assert slot is None or slot.restart_lsn is not None

    def test_slot_is_dropped_and_not_there_is_fine(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.create_slot(SLOT))
        runner.run(session.drop_slot(SLOT))
        runner.run(session.drop_slot(SLOT))
        assert SLOT not in runner.run(session.observe(None)).slots

    def test_standby_can_have_slots_of_its_own(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        runner.run(standby_session.create_slot(SLOT))
        slot = runner.run(standby_session.observe(None)).slots[SLOT]
        assert slot.restart_lsn is not None
        assert slot.held_bytes is not None
        assert SLOT not in runner.run(session.observe(None)).slots
        runner.run(standby_session.drop_slot(SLOT))
        assert SLOT not in runner.run(standby_session.observe(None)).slots

    # --- segments

    def test_finished_segments_follow_each_other(self, runner: asyncio.Runner, session: Session) -> None:
        before = runner.run(session.observe(None))
        first, first_end = runner.run(session.finish_segment())
        second, second_end = runner.run(session.finish_segment())
        assert before.current_lsn is not None
        assert before.current_lsn < first_end < second_end
        assert (len(first), len(second)) == (24, 24)
        assert first < second
        assert int(first[:8], 16) == before.timeline

    def test_commit_writes_wal(self, runner: asyncio.Runner, session: Session) -> None:
        before = runner.run(session.observe(None)).current_lsn
        runner.run(session.commit_something())
        after = runner.run(session.observe(None)).current_lsn
        assert before is not None
        assert after is not None
        assert before < after

    def test_archiver_tells_the_last_segment_and_its_failures(self, runner: asyncio.Runner, session: Session) -> None:
        last, failed = runner.run(session.archived())
        assert last is None or last
        assert failed >= 0

    # --- somebody's queries

    def test_a_query_is_read_on_the_primary_and_on_a_standby(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        for each in (session, standby_session):
            assert runner.run(each.has_database("postgres"))
            assert not runner.run(each.has_database("nowhere"))
            assert runner.run(each.check_query("SELECT 1")) == ""

    # --- the proof

    def test_proof_is_read_where_it_was_written(self, runner: asyncio.Runner, session: Session) -> None:
        assert runner.run(session.read_proof()) is None
        runner.run(session.write_proof("one"))
        assert runner.run(session.read_proof()) == "one"
        runner.run(session.write_proof("it's two"))
        assert runner.run(session.read_proof()) == "it's two"
        assert runner.run(session.observe(None)).proof_token == "it's two"

    def test_proof_arrives_on_the_standby(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        runner.run(session.write_proof("arrived"))

        async def arrives() -> None:
            async with asyncio.timeout(30):
                while True:
                    if await standby_session.read_proof() == "arrived":
                        return
                    await asyncio.sleep(0.005)

        runner.run(arrives())
        assert runner.run(standby_session.observe(None)).proof_token == "arrived"

    # --- base backups

    def test_base_backup_of_a_primary_starts_and_ends_with_a_label(
        self, runner: asyncio.Runner, session: Session
    ) -> None:
        start = runner.run(session.start_backup("contract"))
        assert start.data_directory.startswith("/")
        assert start.segment_bytes % (1024 * 1024) == 0
        end = runner.run(session.stop_backup())
        assert start.lsn < end.lsn
        assert end.label.startswith("START WAL LOCATION: ")
        assert end.tablespace_map == ""

    def test_base_backup_of_a_standby_starts_and_ends_with_a_label(
        self, runner: asyncio.Runner, session: Session, standby_session: Session
    ) -> None:
        runner.run(session.checkpoint())
        start = runner.run(standby_session.start_backup("contract"))
        end = runner.run(standby_session.stop_backup())
        assert start.lsn <= end.lsn
        assert end.label.startswith("START WAL LOCATION: ")

    def test_slot_that_was_made_before_keeps_the_wal_of_a_base_backup(
        self, runner: asyncio.Runner, session: Session
    ) -> None:
        runner.run(session.create_slot(SLOT))
        start = runner.run(session.start_backup("contract"))
        restart_lsn = runner.run(session.observe(None)).slots[SLOT].restart_lsn
        assert restart_lsn is not None
        assert restart_lsn <= start.lsn
        runner.run(session.stop_backup())

    def test_session_has_one_base_backup_at_a_time(self, runner: asyncio.Runner, session: Session) -> None:
        with pytest.raises(DatabaseRefused, match="end the base backup"):
            runner.run(session.stop_backup())
        runner.run(session.start_backup("contract"))
        with pytest.raises(DatabaseRefused, match="start a base backup"):
            runner.run(session.start_backup("contract"))
        runner.run(session.stop_backup())

    # --- configuration

    def test_reload_and_reset_of_what_is_not_set_are_fine(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.reset_setting("work_mem"))
        runner.run(session.reload())

    # --- refusals and ends

    @pytest.mark.parametrize(
        "change",
        [
            lambda session: session.put_replication_role(REPLICATION_ROLE, VERIFIER),
            lambda session: session.put_rewind_role(REWIND_ROLE, VERIFIER, 60),
            lambda session: session.write_proof("x"),
            lambda session: session.finish_segment(),
            lambda session: session.commit_something(),
        ],
        ids=["role", "rewind", "proof", "segment", "commit"],
    )
    def test_standby_refuses_what_only_a_primary_can_do(
        self,
        runner: asyncio.Runner,
        standby_session: Session,
        change: Callable[[Session], Coroutine[Any, Any, object]],
    ) -> None:
        with pytest.raises(DatabaseRefused) as refused:
            runner.run(change(standby_session))
        assert refused.value.code.text == "PT-2005"
        assert refused.value.why.endswith(".")
        assert runner.run(standby_session.observe(None)).in_recovery

    def test_unknown_setting_is_refused(self, runner: asyncio.Runner, session: Session) -> None:
        with pytest.raises(DatabaseRefused, match="no_such_setting"):
            runner.run(session.reset_setting("no_such_setting"))

    def test_session_that_was_closed_is_unreachable(self, runner: asyncio.Runner, session: Session) -> None:
        runner.run(session.close())
        runner.run(session.close())
        with pytest.raises(DatabaseUnreachable):
            runner.run(session.observe(None))
