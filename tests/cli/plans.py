"""Plans made by hand, for the views."""

from dataclasses import replace

from cli.values import DB1, DB2, LONG, LONG_STANDBY
from pgtandem.model.names import NodeName
from pgtandem.model.plan import Condition, Consequence, Plan, Risk, Step, StepKind

DATA_STEP = Step(
    "db1.data",
    StepKind.CREATE_DATA_DIRECTORY,
    DB1,
    "create the data directory /srv/shop/data/db1",
    "db1 is the first node of the topology file and starts as the primary (initdb: checksums, SCRAM, UTF-8).",
    Risk.CREATE,
    expects=(Condition("data_absent", DB1),),
    undo="pgtandem down --destroy",
)
COPY_STEP = Step(
    "db2.data",
    StepKind.BASE_BACKUP,
    DB2,
    "copy db1 to /srv/shop/data/db2",
    "db2 has no data yet; a base backup makes it a standby of db1.",
    Risk.CREATE,
    needs=("db1.data",),
    proves=(Condition("data_is_ours", DB2, "db2"),),
    upstream=DB1,
)
PROOF_STEP = Step(
    "db2.proof",
    StepKind.PROVE_REPLICATION,
    DB2,
    "prove that db2 streams from db1",
    "It must stream from db1, and show a row written on db1.",
    Risk.READ,
    needs=("db2.data",),
)
CONSEQUENCES = (
    Consequence("db1 fails", "stop until a standby is promoted", "commits that no standby had received yet"),
    Consequence("db2 fails", "go on", "nothing; db3 stays behind until db2 is back"),
)
BUILDING = Plan(
    DB1,
    (DATA_STEP, COPY_STEP, PROOF_STEP),
    ("Durability: a commit waits for the primary's own disk only.",),
    CONSEQUENCES,
)
RESTARTING = Plan(
    DB1,
    (
        Step(
            "db2.restart",
            StepKind.RESTART,
            DB2,
            "restart db2",
            "max_connections, max_wal_senders take effect at a start only.",
            Risk.RESTART,
        ),
        Step(
            "db1.files",
            StepKind.WRITE_FILES,
            DB1,
            "set max_connections, work_mem and reload",
            "They differ from what the topology file says.",
            Risk.RELOAD,
        ),
        Step(
            "db1.restart",
            StepKind.RESTART,
            DB1,
            "restart db1",
            "max_connections, max_wal_senders take effect at a start only.",
            Risk.RESTART,
            needs=("db2.restart",),
        ),
    ),
    (),
    CONSEQUENCES,
    look_again=True,
)
DESTROYING = Plan(
    None,
    (
        Step("db1.stop", StepKind.STOP, DB1, "stop db1", "The primary first.", Risk.STOP),
        Step(
            "db1.remove",
            StepKind.REMOVE_DATA_DIRECTORY,
            DB1,
            "remove /srv/shop/data/db1",
            "Asked for by --destroy.",
            Risk.REMOVE,
        ),
    ),
)
LONG_PLAN = Plan(
    NodeName(LONG),
    (
        replace(
            COPY_STEP,
            node=NodeName(LONG_STANDBY),
            what=f"copy {LONG} to /var/lib/very-long-mount-point/of-the-storage-team/shop/data/{LONG_STANDBY}",
        ),
    ),
)
EMPTY = Plan(DB1)
