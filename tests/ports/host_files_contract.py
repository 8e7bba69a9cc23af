"""What every Host must do with files and folders (host_contract.py)."""

import pytest

from pgtandem.ports.host import Host, HostFailure
from ports.host_scenarios import ODD_NAMES, finish


class HostFilesContract:
    """Files and folders."""

    def test_file_that_was_written_is_read_back(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            assert await host.read_file(f"{place}/a") is None
            await host.write_file(f"{place}/a", b"one\x00\xff")
            assert await host.read_file(f"{place}/a") == b"one\x00\xff"
            await host.write_file(f"{place}/a", b"")
            assert await host.read_file(f"{place}/a") == b""

        finish(scenario())

    def test_big_file_is_read_back_whole(self, host: Host, place: str) -> None:
        content = bytes(range(256)) * 20_000

        async def scenario() -> None:
            await host.write_file(f"{place}/big", content)
            assert await host.read_file(f"{place}/big") == content

        finish(scenario())

    def test_writing_leaves_nothing_else_behind(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"one")
            await host.write_file(f"{place}/a", b"two")
            assert await host.list_directory(place) == ("a",)

        finish(scenario())

    def test_write_that_fails_leaves_nothing_behind(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.make_directory(f"{place}/folder")
            with pytest.raises(HostFailure):
                await host.write_file(f"{place}/folder", b"a file where a folder is")
            with pytest.raises(HostFailure, match="missing"):
                await host.write_file(f"{place}/missing/a", b"x")
            assert await host.list_directory(place) == ("folder",)

        finish(scenario())

    def test_stamp_is_another_one_once_a_file_was_written(self, host: Host, place: str) -> None:
        """Or it is none at all, everywhere, on a host that would have to run a program for it."""

        async def scenario() -> None:
            assert await host.stamp(f"{place}/a") is None
            await host.write_file(f"{place}/a", b"one")
            first = await host.stamp(f"{place}/a")
            assert await host.stamp(f"{place}/a") == first
            await host.write_file(f"{place}/a", b"two")
            second = await host.stamp(f"{place}/a")
            assert (first is None) == (second is None)
            assert first is None or second != first

        finish(scenario())

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_names_need_no_quoting(self, host: Host, place: str, name: str) -> None:
        async def scenario() -> None:
            folder = f"{place}/{name}"
            await host.make_directory(folder)
            await host.write_file(f"{folder}/{name}", name.encode())
            assert await host.list_directory(place) == (name,)
            assert await host.list_directory(folder) == (name,)
            assert await host.read_file(f"{folder}/{name}") == name.encode()
            await host.rename(f"{folder}/{name}", f"{folder}/2{name}")
            await host.sync_tree(folder)
            await host.remove_file(f"{folder}/2{name}")
            await host.write_file(f"{folder}/3{name}", b"")
            await host.remove_tree(folder)
            assert await host.list_directory(place) == ()

        finish(scenario())

    def test_failure_names_the_path_in_one_line(self, host: Host, place: str) -> None:
        with pytest.raises(HostFailure) as caught:
            finish(host.write_file(f"{place}/two\nlines/a", b""))
        assert "\n" not in caught.value.what
        assert "lines/a" in caught.value.what
        assert caught.value.why
        assert caught.value.code.text == "PT-2003"

    def test_relative_path_is_refused(self, host: Host) -> None:
        with pytest.raises(HostFailure, match="could not write"):
            finish(host.write_file("relative", b""))

    def test_text_that_cannot_be_a_path_is_refused(self, host: Host, place: str) -> None:
        with pytest.raises(HostFailure):
            finish(host.read_file(f"{place}/\x00"))

    def test_folder_that_is_not_there_is_none(self, host: Host, place: str) -> None:
        assert finish(host.list_directory(f"{place}/missing")) is None

    def test_file_is_not_listed_as_a_folder(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"")
            with pytest.raises(HostFailure):
                await host.list_directory(f"{place}/a")
            with pytest.raises(HostFailure):
                await host.read_file(place)

        finish(scenario())

    def test_names_are_listed_in_order(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for name in ("b", ".hidden", "a", "C"):
                await host.write_file(f"{place}/{name}", b"")
            assert await host.list_directory(place) == (".hidden", "C", "a", "b")

        finish(scenario())

    def test_folder_is_made_with_its_parents_and_again(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for _ in range(2):
                await host.make_directory(f"{place}/a/b/c")
            await host.write_file(f"{place}/a/b/c/file", b"kept")
            await host.make_directory(f"{place}/a/b/c/")
            assert await host.read_file(f"{place}/a/b/c/file") == b"kept"

        finish(scenario())

    def test_folder_is_not_made_where_a_file_is(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"kept")
            for path in (f"{place}/a", f"{place}/a/b"):
                with pytest.raises(HostFailure):
                    await host.make_directory(path)
            assert await host.read_file(f"{place}/a") == b"kept"

        finish(scenario())

    def test_nothing_is_in_the_way_of_a_folder_that_can_be_made(self, host: Host, place: str) -> None:
        finish(host.make_directory(f"{place}/there"))
        for path in (place, f"{place}/there", f"{place}/a/b", f"{place}/it's $HOME"):
            assert finish(host.obstacle(path)) is None
        assert finish(host.list_directory(place)) == ("there",), "looking makes nothing"

    def test_file_is_in_the_way_of_a_folder(self, host: Host, place: str) -> None:
        finish(host.write_file(f"{place}/it's a file", b""))
        for path in (f"{place}/it's a file", f"{place}/it's a file/a/b"):
            found = finish(host.obstacle(path))
            assert found is not None
            assert (found.path, found.remedy) == (f"{place}/it's a file", "")
            with pytest.raises(HostFailure):
                finish(host.make_directory(path))

    def test_rename_replaces_a_file_and_an_empty_folder(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"a")
            await host.write_file(f"{place}/b", b"b")
            await host.rename(f"{place}/a", f"{place}/b")
            assert await host.read_file(f"{place}/b") == b"a"
            await host.make_directory(f"{place}/full")
            await host.write_file(f"{place}/full/file", b"x")
            await host.make_directory(f"{place}/empty")
            await host.rename(f"{place}/full", f"{place}/empty")
            assert await host.list_directory(place) == ("b", "empty")
            assert await host.read_file(f"{place}/empty/file") == b"x"

        finish(scenario())

    def test_rename_never_replaces_a_folder_that_holds_something(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for name in ("a", "b"):
                await host.make_directory(f"{place}/{name}")
                await host.write_file(f"{place}/{name}/file", name.encode())
            with pytest.raises(HostFailure):
                await host.rename(f"{place}/a", f"{place}/b")
            with pytest.raises(HostFailure):
                await host.rename(f"{place}/missing", f"{place}/c")
            assert await host.read_file(f"{place}/b/file") == b"b"

        finish(scenario())

    def test_removing_what_is_not_there_is_fine(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.remove_file(f"{place}/missing")
            await host.remove_file(f"{place}/missing/file")
            await host.remove_tree(f"{place}/missing")

        finish(scenario())

    def test_tree_is_removed_with_everything_in_it(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.make_directory(f"{place}/tree/a/b")
            await host.write_file(f"{place}/tree/a/b/file", b"")
            await host.write_file(f"{place}/other", b"kept")
            await host.remove_tree(f"{place}/tree")
            assert await host.list_directory(place) == ("other",)

        finish(scenario())

    @pytest.mark.parametrize("path", ["/", "/var", "/var/", "//", "/var/..", "/var/lib/../..", "/."])
    def test_tree_near_the_root_is_never_removed(self, host: Host, path: str) -> None:
        with pytest.raises(HostFailure):
            finish(host.remove_tree(path))

    def test_file_is_not_removed_as_a_tree(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"kept")
            with pytest.raises(HostFailure):
                await host.remove_tree(f"{place}/a")
            assert await host.read_file(f"{place}/a") == b"kept"

        finish(scenario())

    def test_syncing_what_is_not_there_fails(self, host: Host, place: str) -> None:
        with pytest.raises(HostFailure):
            finish(host.sync_tree(f"{place}/missing"))

    def test_disk_space_is_that_of_the_nearest_parent(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            there = await host.disk_space(place)
            below = await host.disk_space(f"{place}/not/yet")
            assert 0 <= there.free_bytes <= there.total_bytes
            assert (below.device, below.total_bytes) == (there.device, there.total_bytes)

        finish(scenario())
