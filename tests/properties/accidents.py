"""What may befall a cluster that stands: by a hand that means well, by one that does not, and by nobody."""

from collections.abc import Callable

from pgtandem.model.names import REPLICATION_ROLE, NodeName, slot_name
from pgtandem.model.topology import Topology
from pgtandem.plan.desired import MARKER_FILE, PASSFILE
from pgtandem.postgres.archive_scripts import ARCHIVE_SCRIPT
from pgtandem.postgres.conf import SETTINGS_FILE

from .runs import Simulation

#: Does something to a node; the topology tells where everything is.
Accident = Callable[[Simulation, Topology, NodeName], None]
MEGABYTE = 1024 * 1024


def _path(topology: Topology, name: NodeName) -> str:
    return topology.node(name).data_directory


def _primary(topology: Topology) -> str:
    return topology.nodes[0].data_directory


def edit_settings_file(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.append(_path(topology, name), SETTINGS_FILE, "work_mem = '7MB'")


def edit_settings_file_and_reload(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    edit_settings_file(simulation, topology, name)
    simulation.hand.reload(_path(topology, name))


def set_after_the_include(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.append(_path(topology, name), "postgresql.conf", "synchronous_commit = off")
        simulation.hand.reload(_path(topology, name))


def edit_hba_block(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.edit(_path(topology, name), "pg_hba.conf", REPLICATION_ROLE, "somebody_else")
        simulation.hand.reload(_path(topology, name))


def reject_everybody(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.edit(_path(topology, name), "pg_hba.conf", "scram-sha-256", "reject")
        simulation.hand.reload(_path(topology, name))


def remove_hba_block(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.edit(_path(topology, name), "pg_hba.conf", "pgtandem", "someone")
        simulation.hand.reload(_path(topology, name))


def drop_slot(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    upstream = topology.upstream_of(name, topology.nodes[0].name)
    if upstream is not None:
        simulation.hand.drop_slot(_path(topology, upstream), slot_name(name))


def leave_a_slot(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    """A slot that looks like pgtandem's, of a node that is not there."""
    simulation.hand.make_slot(_path(topology, name), "pgtandem_gone")
    simulation.hand.own.pop(("slot", _path(topology, name), "pgtandem_gone"), None)


def change_password(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.change_password(_primary(topology), REPLICATION_ROLE, "SCRAM-SHA-256$4096:other")


def drop_role(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.drop_role(_primary(topology), REPLICATION_ROLE)


def stop(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.world.stop_server(_path(topology, name))


def kill(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.world.kill_server(_path(topology, name))


def freeze(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.world.freeze_server(_path(topology, name))


def power_cut(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.world.power_off()


def take_signal_away_while_stopped(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    stop(simulation, topology, name)
    simulation.hand.remove(f"{_path(topology, name)}/standby.signal")
    simulation.hand.remove(f"{_path(topology, name)}/recovery.conf")


def start_without_signal(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    """A second primary: the classic accident."""
    take_signal_away_while_stopped(simulation, topology, name)
    if name != topology.nodes[0].name and simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.start(_path(topology, name), topology.postgresql)


def promote(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.promote(_path(topology, name))


def remove_data_directory(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.remove(_path(topology, name))


def put_foreign_data_there(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.remove(_path(topology, name))
    simulation.hand.make_file(f"{_path(topology, name)}/PG_VERSION", "12")
    simulation.hand.make_file(f"{_path(topology, name)}/base/1/1259", "somebody's rows")


def swap_data_directories(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_primary(topology)) and name != topology.nodes[0].name:
        simulation.hand.swap_in(_primary(topology), _path(topology, name))


def alter_system(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.alter_system(_path(topology, name), "synchronous_commit", "off")
        simulation.hand.reload(_path(topology, name))


def alter_system_to_less(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.alter_system(_path(topology, name), "max_wal_senders", "5")


def alter_system_elsewhere(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    """A standby is told to follow nobody."""
    if simulation.world.machine.files.find(_path(topology, name)):
        simulation.hand.alter_system(_path(topology, name), "primary_conninfo", "host=127.0.0.1 port=9 user=nobody")
        simulation.hand.reload(_path(topology, name))


def remove_own_files(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.remove(f"{_path(topology, name)}/{PASSFILE}")
    simulation.hand.remove(f"{_path(topology, name)}/{ARCHIVE_SCRIPT}")


def remove_marker(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.hand.remove(f"{_path(topology, name)}/{MARKER_FILE}")


def remove_control_file(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    kill(simulation, topology, name)
    simulation.hand.remove(f"{_path(topology, name)}/global/pg_control")


def write_much_while_it_is_away(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    """More WAL than its slot may hold."""
    stop(simulation, topology, name)
    primary = simulation.world.server(_primary(topology))
    if primary is not None and "max_slot_wal_keep_size" in primary.settings:
        simulation.hand.write_much(_primary(topology), 2 * MEGABYTE * int(primary.value("max_slot_wal_keep_size")))


def remove_archive(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    if topology.archive is not None:
        simulation.hand.remove(topology.archive.directory)


def take_port(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    stop(simulation, topology, name)
    simulation.world.machine.foreign_ports[topology.node(name).port] = "nginx (process 7)"


def fill_disk(simulation: Simulation, topology: Topology, name: NodeName) -> None:
    simulation.world.fill_disk(1 * MEGABYTE)


ACCIDENTS: dict[str, Accident] = {
    accident.__name__: accident
    for accident in (
        edit_settings_file,
        edit_settings_file_and_reload,
        set_after_the_include,
        edit_hba_block,
        reject_everybody,
        remove_hba_block,
        drop_slot,
        leave_a_slot,
        change_password,
        drop_role,
        stop,
        kill,
        freeze,
        power_cut,
        take_signal_away_while_stopped,
        start_without_signal,
        promote,
        remove_data_directory,
        put_foreign_data_there,
        swap_data_directories,
        alter_system,
        alter_system_to_less,
        alter_system_elsewhere,
        remove_own_files,
        remove_marker,
        remove_control_file,
        write_much_while_it_is_away,
        remove_archive,
        take_port,
        fill_disk,
    )
}
