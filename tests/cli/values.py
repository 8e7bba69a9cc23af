"""Clusters, looks and plans made by hand, for the views."""

from dataclasses import replace

from pgtandem.apply.durability_bench import Measured, Wishes
from pgtandem.apply.history import read_history
from pgtandem.doctor.diagnose import diagnose
from pgtandem.doctor.look import Look
from pgtandem.model.archived import ArchivedWal
from pgtandem.model.backup import Backup, BackupKind, Backups, Drill, HalfMade, Verified
from pgtandem.model.examined import DatabaseDetail, Examination, Examined
from pgtandem.model.facts import ABSENT, Known, Unknown
from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch
from pgtandem.model.names import NodeName, PgbouncerName
from pgtandem.model.observed import (
    ArchiveFolder,
    DataDirectory,
    DiskSpace,
    Marker,
    Observed,
    ObservedNode,
    Postmaster,
    PostmasterState,
)
from pgtandem.model.pooling import ObservedPgbouncer, PgbouncerConsole, PooledDatabase
from pgtandem.model.restore import Interval, Point, Searched
from pgtandem.model.server import Archiver, ReplayHold, Sender, Server, Setting, Slot
from pgtandem.model.topology import LOCAL, Archive, Method, Node, Pgbouncer, Replication, Synchronous, Topology
from pgtandem.observe.promotions import Promotion, Promotions
from pgtandem.plan.archive_report import archive_report
from pgtandem.plan.durability_levels import durability_levels
from pgtandem.plan.whatif import WalRate, what_if
from pgtandem.postgres.archive_content import archive_content
from pgtandem.postgres.pgbench import BenchRun

DB1, DB2, DB3 = NodeName("db1"), NodeName("db2"), NodeName("db3")
SEGMENT = "000000010000000000000003"


def topology(*nodes: Node, synchronous: Synchronous | None = None, cluster: str = "shop") -> Topology:
    return Topology(
        cluster=cluster,
        postgresql=18,
        nodes=nodes,
        replication=Replication(synchronous=synchronous or Synchronous(Method.NONE)),
        archive=Archive("/srv/shop/archive"),
    )


def node(name: str, port: int, *, upstream: str | None = None, home: str = "/srv/shop") -> Node:
    return Node(NodeName(name), port, f"{home}/data/{name}", upstream=NodeName(upstream) if upstream else None)


PAIR = topology(node("db1", 5432), node("db2", 5433))
DELAYED_PAIR = topology(node("db1", 5432), replace(node("db2", 5433), apply_delay="1h"))
CASCADE = topology(
    node("db1", 5432),
    node("db2", 5433),
    node("db3", 5434, upstream="db2"),
    synchronous=Synchronous(Method.ANY, 1),
)


def built(
    name: str, port: int, *, primary: bool = False, lag_bytes: int = 0, sends: tuple[Sender, ...] = (), **facts: object
) -> ObservedNode:
    """A node whose server runs. `facts` replace those of its server."""
    written = 0x25000060
    server = Server(
        version_number=180004,
        system_identifier="7300000000000000001",
        in_recovery=not primary,
        timeline=Timeline(1),
        current_lsn=Lsn(written) if primary else None,
        replay_lsn=None if primary else Lsn(written - lag_bytes),
        replay_age_seconds=None if primary else 2.5,
        senders=sends,
        archiver=Archiver(3, 0, SEGMENT, None, 12.0, None, 0) if primary else None,
    )
    return ObservedNode(
        reachable=Known(True),
        data=Known(DataDirectory(("PG_VERSION",), marker=Marker("shop", NodeName(name)), standby_signal=not primary)),
        postmaster=Known(Postmaster(4711, port, PostmasterState.READY)),
        server=Known(replace(server, **facts)),  # type: ignore[arg-type]
    )


def sender(name: str, sync_state: str = "async") -> Sender:
    at = Lsn(0x25000060)
    return Sender(name, 4712, "127.0.0.1", "streaming", sync_state, at, at, at, at)


def slot(name: str, held_bytes: int = 0, *, active: bool = True) -> Slot:
    return Slot(name, "physical", active, 4712, Lsn(0x25000060 - held_bytes), "reserved", held_bytes)


def stopped(name: str, *, primary: bool = False) -> ObservedNode:
    return replace(built(name, 5432, primary=primary), postmaster=ABSENT, server=ABSENT)


NOT_BUILT = ObservedNode(reachable=Known(True), data=ABSENT, postmaster=ABSENT, server=ABSENT)

HEALTHY = Observed(
    {DB1: built("db1", 5432, primary=True, sends=(sender("db2"),)), DB2: built("db2", 5433, lag_bytes=1_500_000)}
)
STANDBY_STOPPED = Observed({DB1: built("db1", 5432, primary=True), DB2: stopped("db2")})
NOTHING_BUILT = Observed({DB1: NOT_BUILT, DB2: NOT_BUILT})

CASCADING = Observed(
    {
        DB1: built(
            "db1",
            5432,
            primary=True,
            sends=(sender("db2", "quorum"),),
            settings={"synchronous_standby_names": Setting("ANY 1 (db2)"), "max_slot_wal_keep_size": Setting("10240")},
            slots={"pgtandem_db2": slot("pgtandem_db2")},
        ),
        DB2: built("db2", 5433, sends=(sender("db3"),), slots={"pgtandem_db3": slot("pgtandem_db3")}),
        DB3: built("db3", 5434, lag_bytes=512),
    }
)


def _archive(free_bytes: int) -> Known[ArchiveFolder]:
    return Known(ArchiveFolder(("7300000000000000001",), DiskSpace(10**12, free_bytes, "disk2")))


MUCH_IS_WRONG = Observed(
    {
        DB1: built(
            "db1",
            5432,
            primary=True,
            slots={"pgtandem_db2": Slot("pgtandem_db2", "physical", False, None, None, "lost")},
            archiver=Archiver(3, 9, SEGMENT, "000000010000000000000004", 60.0, 1.0, 17),
            settings={
                "max_connections": Setting("100", "configuration file", None, True),
                "synchronous_standby_names": Setting("ANY 1 (db2)"),
            },
        ),
        DB2: replace(
            built("db2", 5433),
            server=Unknown("connection to 127.0.0.1, port 5433 was refused: the database system is starting up"),
        ),
        DB3: ObservedNode(
            *(Unknown("the folder /srv/shop/data cannot be read: Permission denied"),) * 6,
        ),
    },
    archive=_archive(8 * 1024**2),
)

LONG = "tokyo-production-orders-and-invoices-primary-number-1"[:50]
LONG_STANDBY = "osaka-production-orders-and-invoices-standby-number-2"[:50]
LONG_NAMES = topology(
    node(LONG, 5432, home="/var/lib/very-long-mount-point/of-the-storage-team/shop"),
    node(LONG_STANDBY, 5433, home="/var/lib/very-long-mount-point/of-the-storage-team/shop"),
    cluster="orders-and-invoices",
)
LONG_LOOK = Observed(
    {
        NodeName(LONG): built(LONG, 5432, primary=True, sends=(sender(LONG_STANDBY),)),
        NodeName(LONG_STANDBY): built(LONG_STANDBY, 5433, lag_bytes=123_456_789),
    }
)

_RATE = WalRate(250_000.0, 1.02)
_TRIO = topology(node("db1", 5432), node("db2", 5433), node("db3", 5434), synchronous=Synchronous(Method.ANY, 1))
_HERE = Lsn(0x25000060)


def _receiving(name: str, port: int, *, behind: int = 0) -> ObservedNode:
    there = Lsn(_HERE.position - behind)
    return replace(
        built(name, port, lag_bytes=behind, receive_lsn=there), disk=Known(DiskSpace(200 * 1024**3, 10**11, "disk1"))
    )


def _writing(state: str, names: str, **facts: object) -> ObservedNode:
    settings = {
        "synchronous_standby_names": Setting(names),
        "max_slot_wal_keep_size": Setting("4096"),
    }
    slots = {
        f"pgtandem_{name}": Slot(f"pgtandem_{name}", "physical", True, 1, _HERE, "reserved", 0) for name in ("db2",)
    }
    sends = (sender("db2", state), sender("db3", state))
    primary = built("db1", 5432, primary=True, sends=sends, settings=settings, slots=slots, **facts)
    return replace(primary, disk=Known(DiskSpace(200 * 1024**3, 10**11, "disk1")))


_CONFIRMED = Observed(
    {
        DB1: _writing("quorum", 'ANY 1 ("db2", "db3")'),
        DB2: _receiving("db2", 5433),
        DB3: _receiving("db3", 5434, behind=96),
    }
)
_LOOSE = Observed(
    {DB1: _writing("async", ""), DB2: _receiving("db2", 5433, behind=4096), DB3: _receiving("db3", 5434, behind=9000)}
)
_ASYNCHRONOUS = replace(_TRIO, replication=Replication())
_BELOW = replace(CASCADE, replication=Replication())
WHATIF_PRIMARY = what_if(_TRIO, _CONFIRMED, (DB1,), _RATE)
WHATIF_STANDBYS = what_if(_TRIO, _CONFIRMED, (DB2, DB3), _RATE)
WHATIF_ASYNCHRONOUS = what_if(_ASYNCHRONOUS, _LOOSE, (DB1,), None)
WHATIF_CASCADE = what_if(_BELOW, _LOOSE, (DB2,), WalRate(0.0, 1.0))
WHATIF_NOBODY = what_if(_TRIO, replace(_CONFIRMED, nodes={**_CONFIRMED.nodes, DB2: stopped("db2")}), (DB1,), _RATE)

CAPPED = {"max_slot_wal_keep_size": Setting("10240")}
CAUGHT_UP = Observed(
    {
        DB1: built(
            *("db1", 5432),
            primary=True,
            sends=(sender("db2"),),
            slots={"pgtandem_db2": slot("pgtandem_db2")},
            settings=CAPPED,
        ),
        DB2: built("db2", 5433),
    },
    archive=_archive(412_500_000_000),
)


def behind(name: str, sent: int, written: int, flushed: int, replayed: int) -> Sender:
    """A standby that is so many bytes behind at each stage."""
    here = 0x25000060
    at = [Lsn(here - lag) for lag in (sent, written, flushed, replayed)]
    return Sender(name, 4712, "127.0.0.1", "streaming", "async", *at)


_MB = 1_000_000
SLOW = Observed(
    {
        DB1: built(
            *("db1", 5432),
            primary=True,
            sends=(behind("db2", 0, 0, 0, 118 * _MB), behind("db3", 40 * _MB, 60 * _MB, 61 * _MB, 61 * _MB)),
            slots={
                "pgtandem_db2": slot("pgtandem_db2", 118 * _MB),
                "pgtandem_db3": slot("pgtandem_db3", 61 * _MB),
                "forgotten": slot("forgotten", 300 * _MB, active=False),
            },
            settings=CAPPED,
            archiver=Archiver(3, 0, SEGMENT, None, 240.0, None, 6),
        ),
        DB2: built("db2", 5433, lag_bytes=118 * _MB),
        DB3: built("db3", 5434, lag_bytes=61 * _MB),
    }
)
TRIO = topology(node("db1", 5432), node("db2", 5433), node("db3", 5434))
HELD_TRIO = topology(
    replace(node("db1", 5432), zone="tokyo-a"),
    replace(node("db2", 5433), zone="tokyo-b"),
    replace(node("db3", 5434), zone="osaka"),
    synchronous=Synchronous(Method.ANY, 1),
)
#: A query on db2 holds its replay up, db3 is far away, and db1 writes 2 MB of WAL per second.
HELD = Observed(
    {
        DB1: built(
            *("db1", 5432),
            primary=True,
            sends=(
                replace(behind("db2", 0, 0, 0, 9 * _MB), sync_state="quorum", replay_lag_seconds=41.25),
                replace(behind("db3", 2 * _MB, 3 * _MB, 3 * _MB, 3 * _MB), sync_state="quorum", write_lag_seconds=1.5),
            ),
            settings={"synchronous_standby_names": Setting("ANY 1 (db2, db3)"), **CAPPED},
            slots={"pgtandem_db2": slot("pgtandem_db2", 9 * _MB), "old": slot("old", 300 * _MB, active=False)},
            redo_lsn=Lsn(0x25000060 - 120 * _MB),
            redo_age_seconds=60.0,
        ),
        DB2: built(
            *("db2", 5433),
            lag_bytes=9 * _MB,
            replay_age_seconds=4000.0,
            replay_hold=ReplayHold(4720, "reporting", "psql", 372.0, "snapshot"),
        ),
        DB3: built("db3", 5434, lag_bytes=3 * _MB),
    }
)

_IDLE = {"old": Slot("old", "physical", False, None, Lsn(0x20000000), "reserved", 83886176)}
_EXAMINED = Examined(
    {
        DB1: Known(
            Examination(
                lines={"fsync": ("/srv/shop/data/db1/postgresql.conf", 212)},
                databases={"shop": DatabaseDetail("shop", unlogged_files=2)},
            )
        )
    }
)
_RISKY = built(
    "db1", 5432, primary=True, settings={"fsync": Setting("off"), "max_slot_wal_keep_size": Setting("-1")}, slots=_IDLE
)
DIAGNOSED_LOOK = Look(PAIR, Observed({DB1: _RISKY, DB2: stopped("db2")}), _EXAMINED)
DIAGNOSED = (DIAGNOSED_LOOK, diagnose(DIAGNOSED_LOOK))

JOURNAL: list[dict[str, object]] = [
    {"at": 1_799_990_000.0, "event": "plan", "command": "up", "steps": ["db1.data: create the data directory"]},
    {"at": 1_799_990_000.1, "event": "step", "step": "db1.data", "node": "db1", "what": "create the data directory"},
    {"at": 1_799_990_001.0, "event": "plan", "command": "up", "who": "ana", "steps": [
        "db1.data: create the data directory", "db2.data: copy db1", "db2.proof: prove that db2 streams from db1"
    ]},
    {"at": 1_799_990_002.0, "event": "step", "step": "db1.data", "node": "db1"},
    {"at": 1_799_990_003.0, "event": "step done", "step": "db1.data", "seconds": 0.412, "remark": ""},
    {"at": 1_799_990_003.0, "event": "step", "step": "db2.data", "node": "db2"},
    {"at": 1_799_990_031.0, "event": "step failed", "step": "db2.data", "code": "PT-4006",
     "what": "the base backup of db2 failed", "why": "No space left on device."},
    {"at": 1_799_990_031.5, "event": "plan failed", "code": "PT-4006", "what": "the base backup of db2 failed"},
    {"at": 1_799_990_100.0, "event": "refused", "command": "apply", "who": "ana (as root)", "code": "PT-3001",
     "what": "there are two primaries", "why": "Both take writes.", "problems": ["db1 is one.", "db2 is one."]},
    {"at": 1_799_990_200.0, "event": "declined", "command": "down", "who": "kai"},
    {"at": 1_799_990_300.0, "event": "plan", "command": "apply", "who": "kai", "steps": ["db1.files: set work_mem"]},
    {"at": 1_799_990_300.2, "event": "step", "step": "db1.files", "node": "db1"},
    {"at": 1_799_990_300.3, "event": "step done", "step": "db1.files", "seconds": 0.1, "remark": "it was read"},
    {"at": 1_799_990_300.4, "event": "plan done"},
]  # fmt: skip
PAST = read_history(JOURNAL)
_WORDS = "no recovery target specified"
PROMOTIONS = Promotions(
    (
        Promotion(Timeline(2), Timeline(1), Lsn.parse("0/3000060"), _WORDS, 3.0, NodeName("db2")),
        Promotion(Timeline(3), Timeline(2), Lsn.parse("0/5000060"), _WORDS, 1_799_990_150.0, NodeName("db1")),
    ),
    (("db3", "No route to host."),),
)


def backup(label: str, ended: float, **facts: object) -> Backup:
    kind = BackupKind(label.partition("-")[2])
    made = Backup(
        *(label, kind, DB2, "shop", "7300000000000000001", 18, Timeline(1)),
        *(Lsn(0x2000028), Lsn(0x4037488), ended - 60, ended, 16 * 1024 * 1024),
        size_bytes=74 * _MB,
        folder=f"/srv/shop/archive/7300000000000000001/backups/{label}",
    )
    return replace(made, **facts)  # type: ignore[arg-type]


_DAY = 86400.0
_NIGHT = 1_799_900_000.0
BACKUPS = Backups(
    (
        backup("20270114T031320Z-full", _NIGHT - 2 * _DAY, verified=Verified(_NIGHT), drill=Drill(_NIGHT)),
        backup("20270115T031320Z-incremental", _NIGHT - _DAY, parent="20270114T031320Z-full"),
        backup(
            "20270116T031320Z-full",
            _NIGHT,
            verified=Verified(_NIGHT + 60, "base/1/1259 has other content"),
            drill=Drill(_NIGHT + 600, "It did not start."),
        ),
    ),
    (HalfMade(LOCAL, "/srv/shop/archive/7300000000000000001/backups/.20270117T031320Z-full.part"),),
    (("/srv/shop/archive/7300000000000000001/backups/20270101T031320Z-full", "backup.json: it is empty"),),
)
INTERVALS = (
    Interval(Timeline(1), BACKUPS.found[0], Lsn(0x4037488), Lsn(0x6000000), _NIGHT, None, SEGMENT, True),
    Interval(Timeline(2), BACKUPS.found[0], Lsn(0x6000000), Lsn(0x8000000), None, _NIGHT + 60, SEGMENT),
)
#: The older backup is damaged, and the incremental one that continues it; a new one is good.
_BAD = replace(BACKUPS.found[0], verified=Verified(_NIGHT, "base.tar is 5 bytes too short"))
INTERVALS_SPOILT = (
    Interval(Timeline(1), _BAD, Lsn(0x4037488), Lsn(0x8000000), _NIGHT, _NIGHT + 99, SEGMENT, spoilt=_BAD),
    Interval(Timeline(1), BACKUPS.found[1], Lsn(0x5000060), Lsn(0x8000000), _NIGHT + 9, _NIGHT + 99, SEGMENT,
             spoilt=_BAD),
    Interval(Timeline(1), backup("20270117T031320Z-full", _NIGHT + 50), Lsn(0x7000060), Lsn(0x8000000), _NIGHT + 50,
             _NIGHT + 99, SEGMENT),
)  # fmt: skip

POINTS = Searched(
    (Point("before upgrade", Lsn(0x4037500), _NIGHT + 10), Point("every day", Lsn(0x6000100))),
    Lsn(0x4000028),
    Lsn(0x8000000),
)


def _measured(server: Server, *tps: float) -> tuple[Measured, ...]:
    levels = durability_levels(server)
    runs = [BenchRun(round(each * 10), each, 8000 / each, 2.5) if each else None for each in tps]
    why = [
        "" if run else (level.never or "the same as local: no standby has to confirm a commit")
        for level, run in zip(levels, runs, strict=True)
    ]
    return tuple(Measured(*each) for each in zip(levels, runs, why, strict=True))  # fmt: skip


def server_of(node: ObservedNode) -> Server:
    assert node.running is not None
    return node.running


BENCH = _measured(server_of(_CONFIRMED.nodes[DB1]), 2213.4, 1019.2, 1083, 862, 792)
BENCH_ASYNCHRONOUS = _measured(server_of(_LOOSE.nodes[DB1]), 2213.4, 1019.2, 0, 0, 0)
BENCH_WAITING = _measured(server_of(MUCH_IS_WRONG.nodes[DB1]), 2213.4, 1019.2, 0, 0, 0)
BENCH_WISHES = Wishes(10, 8, 4)


POOL = Pgbouncer(PgbouncerName("pool1"), "/srv/shop/pool.ini", databases={"shop": "shop"})


def pooled(observed: Observed, *, port: int = 5432, paused: bool = False) -> Observed:
    """With a PgBouncer whose database leads to a port of this machine."""
    console = PgbouncerConsole(
        "1.18.0", "transaction", {"shop": PooledDatabase("shop", "127.0.0.1", port, "shop", paused)}
    )
    return replace(observed, pgbouncers={POOL.name: ObservedPgbouncer(Known(""), Known(console))})


POOLED = replace(CASCADE, pgbouncers=(POOL,))
POOLED_PAIR = replace(PAIR, pgbouncers=(POOL,))
LED_ASTRAY = pooled(CASCADING, port=5433, paused=True)
OUT_OF_REACH = replace(CAUGHT_UP, pgbouncers={POOL.name: ObservedPgbouncer(Known(""), Unknown("Connection refused."))})
_SIZE = 16 * 1024 * 1024
_TIMELINE_2 = Timeline(2)
ARCHIVED = ArchivedWal(
    archive_content(
        [
            *((f"{1:08X}{number:016X}", _SIZE) for number in (*range(2, 9), *range(11, 14))),
            *((f"{2:08X}{number:016X}.zst", 1000) for number in range(13, 20)),
            ("00000001000000000000000D.partial", _SIZE),
            ("00000002.history", 41),
            ("000000020000000000000014.zst", 0),
        ],
        _SIZE,
    ),
    {_TIMELINE_2: (TimelineSwitch(Timeline(1), Lsn(int(13.5 * _SIZE))),)},
)
ARCHIVE = replace(
    archive_report(
        "7300000000000000001",
        "/srv/shop/archive",
        ARCHIVED,
        Backups((backup("20270114T031320Z-full", _NIGHT, verified=Verified(_NIGHT)),)),
    ),
    checked=18,
    without_checksum=("00000001000000000000000B",),
)
