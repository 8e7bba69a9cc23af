"""The scripts of the archive's receiver (`postgres.stream_scripts`) in the simulated world."""

from collections.abc import Callable, Mapping

from pgtandem.ports.host import Completed
from pgtandem.postgres.segments import segment_number
from pgtandem.postgres.stream_scripts import (
    BEGIN_ANEW,
    BEGINNING,
    HAND_OVER,
    LOOK,
    LOOK_ANEW,
    RECEIVER,
    SEED,
    START,
    STOP,
    STREAMED,
    WANT,
    WANTED,
)
from pgtandem.testing.files import SimFile, SimFolder
from pgtandem.testing.network import ArchivedSegment, SimMachine, SimNetwork
from pgtandem.testing.receiver import Piece, pieces, streamed, summed_up
from pgtandem.testing.storage import CONTROL_FILE, SEGMENT, Storage

Script = Callable[..., Completed]
_DONE = Completed(0)


def _said(*lines: str) -> Completed:
    return Completed(0, "".join(f"{line}\n" for line in lines).encode())


def _want(network: SimNetwork, machine: SimMachine, folder: str) -> Completed:
    if machine.files.find(f"{folder}/{RECEIVER}") is None:
        return Completed(1)
    machine.files.write(f"{folder}/{RECEIVER}/{WANTED}", b"")
    return _DONE


def _start(network: SimNetwork, machine: SimMachine, folder: str, seconds: str) -> Completed:
    network.start_receiver(machine, folder)
    return _DONE


def _stop(network: SimNetwork, machine: SimMachine, folder: str) -> Completed:
    if machine.files.find(f"{folder}/{RECEIVER}") is None:
        return Completed(1)
    if machine.files.find(f"{folder}/{RECEIVER}/{WANTED}") is not None:
        machine.files.remove(f"{folder}/{RECEIVER}/{WANTED}")
    receiver = network.receiver_of(machine, folder)
    if receiver is not None:
        receiver.kill()
    return _DONE


def _look_anew(network: SimNetwork, machine: SimMachine, folder: str) -> Completed:
    receiver = network.receiver_of(machine, folder)
    if receiver is not None:
        receiver.hang_up()
    return _DONE


def _look(network: SimNetwork, machine: SimMachine, folder: str) -> Completed:
    if machine.files.find(f"{folder}/{RECEIVER}") is None:
        return Completed(1)
    lines = ["running"] if network.receiver_of(machine, folder) is not None else []
    place = machine.files.find(f"{folder}/{STREAMED}")
    if not isinstance(place, SimFolder):
        return _said(*lines)
    lines += [f"file {100 if name.endswith('.history') else SEGMENT} {name}" for name in sorted(place.entries)]
    lines.append("age 0")
    lines += [f"tail {name} {piece.size_bytes}" for name, piece in pieces(place) if name.endswith(".partial")]
    return _said(*lines)


def _beginning(network: SimNetwork, machine: SimMachine, path: str, size: str) -> Completed:
    """Of a file of the archive, or of one in pg_wal."""
    file, (above, _, name) = machine.files.find(path), path.rpartition("/")
    number = segment_number(name.removesuffix(".partial"), SEGMENT)
    if isinstance(file, SimFile) and isinstance(file.payload, Piece):
        records = file.payload.records
    else:
        control = machine.files.find(f"{above.rpartition('/')[0]}/{CONTROL_FILE}")
        storage = control.payload if isinstance(control, SimFile) else None
        if not isinstance(storage, Storage):
            return Completed(1)
        records = [record for record in storage.wal if record.timeline <= int(name[:8], 16)]
    found = "" if number is None else summed_up(records, number * SEGMENT, int(size))
    return _said(found) if found else Completed(1)


def _begin_anew(network: SimNetwork, machine: SimMachine, folder: str) -> Completed:
    place, beyond = streamed(machine, folder), machine.files.make_directory(f"{folder}/{RECEIVER}/beyond")
    for name, piece in list(pieces(place)):
        file = place.entries.pop(name)
        if machine.files.find(f"{folder}/{name.removesuffix('.partial')}") is None:
            target = beyond if name.endswith(".partial") else machine.files.folder(folder)
            target.entries[name] = file if name.endswith(".partial") else _archived(piece)
    return _DONE


def _seed(network: SimNetwork, machine: SimMachine, folder: str, name: str) -> Completed:
    place, file = streamed(machine, folder), machine.files.find(f"{folder}/{name}")
    number = segment_number(name, SEGMENT)
    if list(pieces(place)) or not isinstance(file, SimFile) or number is None:
        return _DONE
    payload = file.payload
    records = list(payload.records) if isinstance(payload, ArchivedSegment) else []
    place.entries[name] = SimFile(payload=Piece(number, records))
    return _said("seeded")


def _hand_over(network: SimNetwork, machine: SimMachine, folder: str) -> Completed:
    for name, piece in pieces(streamed(machine, folder)):
        if machine.files.find(f"{folder}/{name}") is None:
            machine.files.folder(folder).entries[name] = _archived(piece)
    return _DONE


def _archived(piece: Piece) -> SimFile:
    return SimFile(payload=piece)


RECEIVING: Mapping[str, Script] = {
    WANT: _want,
    START: _start,
    STOP: _stop,
    LOOK: _look,
    LOOK_ANEW: _look_anew,
    BEGINNING: _beginning,
    BEGIN_ANEW: _begin_anew,
    SEED: _seed,
    HAND_OVER: _hand_over,
}
