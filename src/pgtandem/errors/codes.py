"""The table of error codes: one line per code, which the documentation and the exit codes come from.

A code is never used for another meaning once it was released.
"""

from dataclasses import dataclass
from enum import Enum


class Family(Enum):
    """A family of errors: its first digit in the code, its exit code, its title."""

    TOPOLOGY = (1, 10, "the topology file or the command line")
    OBSERVE = (2, 11, "looking at hosts and servers")
    PLAN = (3, 12, "a plan that is refused because going on would be unsafe")
    APPLY = (4, 13, "a step that failed")
    LOCK = (5, 14, "another pgtandem at work")
    VERIFY = (6, 15, "a result that could not be proven")
    INTERNAL = (9, 19, "a defect of pgtandem itself")

    @property
    def digit(self) -> int:
        return self.value[0]

    @property
    def exit_code(self) -> int:
        return self.value[1]

    @property
    def title(self) -> str:
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Code:
    """One code, such as PT-4102: its family, and what it means in one sentence."""

    text: str
    family: Family
    meaning: str

    @property
    def exit_code(self) -> int:
        return self.family.exit_code


def _table(*rows: tuple[int, Family, str]) -> dict[str, Code]:
    table: dict[str, Code] = {}
    for number, family, meaning in rows:
        text = f"PT-{number}"
        if text in table or number // 1000 != family.digit:
            raise ValueError(f"code {text} is given twice or stands in the wrong family")
        table[text] = Code(text, family, meaning)
    return table


CODES = _table(
    (1001, Family.TOPOLOGY, "The topology file does not exist."),
    (1002, Family.TOPOLOGY, "The topology file cannot be read."),
    (1003, Family.TOPOLOGY, "The topology file is not valid TOML."),
    (1004, Family.TOPOLOGY, "The topology file has problems; each is listed."),
    (1005, Family.TOPOLOGY, "A topology file is there already and is not overwritten."),
    (1006, Family.TOPOLOGY, "The command line names something that does not exist, or lacks something."),
    (1007, Family.TOPOLOGY, "The command would change something, and nobody could be asked."),
    (1008, Family.TOPOLOGY, "The folder of the topology file cannot be written."),
    (1009, Family.TOPOLOGY, "The output cannot be written."),
    (1010, Family.TOPOLOGY, "An address cannot be listened on."),
    (2001, Family.OBSERVE, "A host cannot be reached."),
    (2002, Family.OBSERVE, "A command on a host did not end in time."),
    (2003, Family.OBSERVE, "A file or folder on a host cannot be read or written."),
    (2004, Family.OBSERVE, "A server does not accept a connection."),
    (2005, Family.OBSERVE, "A server refused a query."),
    (2007, Family.OBSERVE, "The cluster is not built yet: there is nothing to connect to."),
    (3001, Family.PLAN, "There is more than one primary."),
    (3002, Family.PLAN, "There is no primary, and making one could lose data."),
    (3003, Family.PLAN, "A data directory holds something that pgtandem did not make, or made for another node."),
    (3004, Family.PLAN, "The data directories belong to different clusters."),
    (3005, Family.PLAN, "PostgreSQL of the major version asked for is not installed."),
    (3006, Family.PLAN, "The data directory is of another major version."),
    (3007, Family.PLAN, "The port is taken by another program, or a server may not listen on it."),
    (3008, Family.PLAN, "A fact that the plan needs is unknown."),
    (3009, Family.PLAN, "The disk is too small for the copy."),
    (3010, Family.PLAN, "A standby can no longer get the WAL that it needs."),
    (3011, Family.PLAN, "The cluster changed after the plan was shown."),
    (3012, Family.PLAN, "A standby follows another timeline than its upstream."),
    (3013, Family.PLAN, "The node is not what the topology file says, and pgtandem cannot change that yet."),
    (3014, Family.PLAN, "A data directory lacks a part that only a new copy can bring back."),
    (3015, Family.PLAN, "The account that servers run as cannot make a folder where it is to be."),
    (3016, Family.PLAN, "The PostgreSQL programs were built without TLS, and the topology file asks for it."),
    (3017, Family.PLAN, "A certificate, its private key or the CA cannot be used."),
    (3021, Family.PLAN, "A node cannot reach the node that it is to follow."),
    (3022, Family.PLAN, "The hosts of two nodes order texts differently."),
    (3023, Family.PLAN, "A WAL directory or a tablespace cannot be made where it would have to lie."),
    (3024, Family.PLAN, "WAL is written elsewhere than the topology file says."),
    (3025, Family.PLAN, "A server that is to be restarted could not read its pg_hba.conf."),
    (3031, Family.PLAN, "A server that is to be taken over does not run."),
    (3032, Family.PLAN, "Another program takes care of the cluster that is to be taken over."),
    (3033, Family.PLAN, "A server cannot be taken over as it is set up."),
    (3041, Family.PLAN, "A node's data went another way than the primary's."),
    (3042, Family.PLAN, "What a role change needs does not hold; each thing is listed."),
    (3043, Family.PLAN, "The old primary may still be at work, and nothing keeps it from going on."),
    (3044, Family.PLAN, "The passwords cannot be changed while the cluster is as it is."),
    (3051, Family.PLAN, "The cluster has no WAL archive."),
    (3052, Family.PLAN, "There is no node that a backup could be taken from."),
    (3053, Family.PLAN, "An incremental backup is not possible."),
    (3054, Family.PLAN, "What a restore was asked for is not in the archive."),
    (3055, Family.PLAN, "The folder that a restore was to go to holds something else."),
    (3056, Family.PLAN, "A node cannot be replaced by what was restored."),
    (3057, Family.PLAN, "A restore would write into a tablespace of the cluster."),
    (3058, Family.PLAN, "The query of a drill cannot be asked."),
    (3059, Family.PLAN, "A restore that took the place of a node was cut off before the other nodes followed."),
    (3061, Family.PLAN, "The benchmark cannot be run on the cluster as it is."),
    (3070, Family.PLAN, "The program that compresses WAL is not installed."),
    (3071, Family.PLAN, "Another tool keeps the archive."),
    (3072, Family.PLAN, "The program that receives the archive's stream is not installed."),
    (4001, Family.APPLY, "A program that a step ran failed."),
    (4002, Family.APPLY, "What a step needs does not hold any more."),
    (4003, Family.APPLY, "A step's effect could not be proven in time."),
    (4004, Family.APPLY, "A server did not start."),
    (4005, Family.APPLY, "A server did not stop."),
    (4006, Family.APPLY, "The base backup failed."),
    (4007, Family.APPLY, "The WAL archive did not take a segment."),
    (4008, Family.APPLY, "A standby does not stream."),
    (4009, Family.APPLY, "The command was interrupted."),
    (4010, Family.APPLY, "A record of pg_hba.conf cannot be read by the server."),
    (4011, Family.APPLY, "The certificate of the cluster's CA cannot be read any more."),
    (4012, Family.APPLY, "A standby waits for WAL that is gone."),
    (4013, Family.APPLY, "An SSH key between hosts could not be made or let in."),
    (4014, Family.APPLY, "WAL is not streamed to the archive."),
    (4041, Family.APPLY, "The successor does not have everything that the old primary wrote."),
    (4042, Family.APPLY, "A standby did not become the primary."),
    (4043, Family.APPLY, "pg_rewind failed."),
    (4051, Family.APPLY, "A backup could not be taken."),
    (4052, Family.APPLY, "The WAL that a backup needs is not in the archive."),
    (4053, Family.APPLY, "A backup is not what was backed up."),
    (4054, Family.APPLY, "A restored server did not reach its recovery target."),
    (4055, Family.APPLY, "A backup could not be unpacked."),
    (4056, Family.APPLY, "What a restore drill brought back is not right."),
    (4057, Family.APPLY, "The query of a drill failed for a reason of its own."),
    (4058, Family.APPLY, "A restore drill passed, and its result could not be written down."),
    (4061, Family.APPLY, "A PgBouncer does not have the databases that were written for it."),
    (4062, Family.APPLY, "Clients would have had to wait for longer than they may."),
    (5001, Family.LOCK, "Another pgtandem holds the lock of this cluster."),
    (5002, Family.LOCK, "The command was ended for a role change, which goes first."),
    (
        6001,
        Family.VERIFY,
        "After the plan was applied, a fresh plan is still not empty; or only standbys could be started, since no node "
        "is the primary.",
    ),
    (6002, Family.VERIFY, "A row written on the primary did not arrive on a standby."),
    (9001, Family.INTERNAL, "A defect of pgtandem: please report it."),
)
