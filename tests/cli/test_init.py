"""The first topology file: what the options say is in it, and what contradicts itself is told as options."""

import os
from pathlib import Path

import pytest

from pgtandem.cli.main import main
from pgtandem.topology.load import load_topology


def test_init_writes_what_the_options_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--name", "orders", "--standbys", "2", "--postgresql", "16", "--synchronous", "any 1", "--no-archive"]
    assert main(["init", *options, "--durability", "remote_apply", str(tmp_path / "new" / "folder")]) == 0
    file = tmp_path / "new" / "folder" / "pgtandem.toml"
    topology = load_topology(file.read_text(), folder=str(file.parent))
    assert (topology.cluster, topology.postgresql, topology.archive) == ("orders", 16, None)
    assert topology.names == ("db1", "db2", "db3")
    assert str(topology.replication.synchronous) == "any 1"
    assert len({node.port for node in topology.nodes}) == 3
    out = capsys.readouterr().out
    assert out.startswith("wrote ")
    assert "next: " in out
    assert "plan   and" in out


def test_init_leaves_the_ports_of_stopped_clusters_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "postgresql.conf"
    config.write_text("# port = 1\nport = 27341   # as Debian writes it\n")
    monkeypatch.setattr("pgtandem.cli.new_topology.glob.glob", lambda _: [str(config), str(tmp_path / "missing")])
    assert main(["init", "--port", "27340", "--standbys", "2", str(tmp_path / "new")]) == 0
    topology = load_topology((tmp_path / "new" / "pgtandem.toml").read_text(), folder=str(tmp_path))
    assert 27341 not in {node.port for node in topology.nodes}


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pgtandem.toml"
    file.write_text("mine")
    assert main(["init", str(tmp_path)]) == 10
    assert file.read_text() == "mine"
    assert "[PT-1005]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said", "instead"),
    [
        (["--standbys", "0", "--synchronous", "any 1"], "--synchronous: ", "-> --synchronous none"),
        (["--durability", "off", "--synchronous", "any 1"], "--durability: ", "-> --durability on, or --synchronous"),
        (["--name", "a b"], "--name: ", "-> for example --name shop"),
        (["--postgresql", "9"], "--postgresql: ", "10 to 18"),
        (["--synchronous", "any"], '--synchronous is "none", "first N" or "any N", not "any"', ""),
        (["--durability", "quorum"], '--durability is one of off, local, remote_write, on, remote_apply, not "q', ""),
        (["--standbys=-1"], "--standbys is a number from 0 to 50, not -1", ""),
        (["--port", "99999"], "--port is a number from 1024 to 65535, not 99999", ""),
    ],
)
def test_contradicting_options_are_told_as_options_and_nothing_is_written(
    options: list[str], said: str, instead: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *options, str(tmp_path / "new")]) == 10
    err = capsys.readouterr().err
    assert said in err
    assert instead in err
    assert "[PT-1006]" in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file")]) == 10
    assert "is not a folder" in capsys.readouterr().err
    assert main(["status", "-f", str(tmp_path / "file" / "x.toml")]) == 10
    assert "[PT-1001]" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(["init", str(tmp_path)]) == 10
    assert "Permission denied" in capsys.readouterr().err
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("folder", "name"), [("shop", "shop"), ("Müller & Söhne", "Muller-Sohne"), ("42", "cluster-42"), ("...", "cluster")]
)
def test_the_cluster_is_called_like_its_folder_as_far_as_that_is_a_name(folder: str, name: str, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / folder)]) == 0
    assert f'name = "{name}"' in (tmp_path / folder / "pgtandem.toml").read_text()


def test_a_node_per_host(tmp_path: Path) -> None:
    hosts = ["--host", "ssh://postgres@10.0.0.1", "--host", "ssh://10.0.0.2:2222", "--postgresql", "15"]
    assert main(["-f", str(tmp_path / "pgtandem.toml"), "init", "--name", "shop", *hosts]) == 0
    topology = load_topology((tmp_path / "pgtandem.toml").read_text(), folder=str(tmp_path))
    assert [(node.name, node.host.url, node.address) for node in topology.nodes] == [
        ("db1", "ssh://postgres@10.0.0.1", "10.0.0.1"),
        ("db2", "ssh://10.0.0.2:2222", "10.0.0.2"),
    ]
    assert {node.data_directory for node in topology.nodes} == {"/var/lib/postgresql/15/shop"}
    text = (tmp_path / "pgtandem.toml").read_text().replace("# [archive]", "[archive]")
    text = text.replace('# directory = "/var', 'directory = "/var')
    asked_for = load_topology(text, folder=str(tmp_path)).archive
    assert asked_for is not None
    assert asked_for.directory == "/var/lib/postgresql/archive", "what is written as a comment can be taken as it is"
    assert '# host = "ssh://..."' in text.partition("[archive]")[2].partition("[tls]")[0]


@pytest.mark.parametrize("options", [["--host", "10.0.0.1"], ["--host", "ssh://a", "--standbys", "1"]])
def test_hosts_that_are_none_are_refused(options: list[str], tmp_path: Path) -> None:
    assert main(["-f", str(tmp_path / "pgtandem.toml"), "init", *options]) == 10
    assert not (tmp_path / "pgtandem.toml").exists()


@pytest.mark.parametrize("words", [["ssh://a@10.0.0.1"], ["shop", "ssh://a@10.0.0.1"], ["ssh://a@10.0.0.1", "ssh://b"]])
def test_a_host_in_the_folders_place_makes_no_folder(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("init", "adopt"):
        assert main([command, *words]) == 10
        told = capsys.readouterr().err
        assert '"ssh://a@10.0.0.1" is no folder' in told
        assert f"pgtandem {command} --host ssh://a@10.0.0.1" in told
    assert main(["plan", "ssh://a@10.0.0.1"]) == 10
    assert list(tmp_path.iterdir()) == []
