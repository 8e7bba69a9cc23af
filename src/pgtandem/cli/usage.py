"""Every command: what it does, examples, and which of the common options it has. Help and parser come from here."""

from typing import NamedTuple


class Command(NamedTuple):
    """One command. `changes` says that it changes the cluster and asks before; `asks_hosts` that it looks at hosts, as
    everything does that changes; `json` that it can print JSON."""

    summary: str
    more: str
    examples: tuple[str, ...]
    changes: bool = False
    json: bool = False
    asks_hosts: bool = False


COMMANDS: dict[str, Command] = {
    "up": Command(
        "build a primary and a standby on this machine and prove that they work",
        "Without a topology file it writes one first. Where the cluster is there already, "
        "it starts and changes what is not as the file says.",
        ("pgtandem up", "pgtandem up --yes demo"),
        changes=True,
    ),
    "status": Command(
        "show who streams from whom, and what is wrong",
        "Exit code 0 when every node is up and streaming, 2 when something is wrong.",
        ("pgtandem status", "pgtandem status --json", "pgtandem status --watch 5"),
        json=True,
        asks_hosts=True,
    ),
    "top": Command(
        "show the cluster live in the terminal",
        "The tree of nodes, lag by stage and the WAL rate over time, and what happens. Enter opens a node's page with "
        "its settings and its log; q leaves.",
        ("pgtandem top", "pgtandem top --every 5"),
        asks_hosts=True,
    ),
    "report": Command(
        "write a page about the cluster, to read, print and keep",
        "It looks for a while (30 s), asks doctor, and writes one HTML file that needs no other: the topology drawn, "
        "lag over time, findings, what a failure would mean, settings. Exit code 0 whatever it says.",
        ("pgtandem report", "pgtandem report --for 10min -o monday.html"),
        asks_hosts=True,
    ),
    "exporter": Command(
        "serve metrics for Prometheus and health checks for load balancers",
        "Under /metrics, and per node under /nodes/NODE/primary and /nodes/NODE/standby: 200 or 503. It looks when "
        "it is asked, changes nothing, and ends by SIGTERM or Ctrl-C.",
        ("pgtandem exporter", "pgtandem exporter --listen 10.0.0.9:9832"),
        asks_hosts=True,
    ),
    "doctor": Command(
        "look for the traps of streaming replication",
        "Each finding says what was seen, why it matters and what to do. Exit code 0 when there is none, 2 when "
        "there is any; notes do not count.",
        (
            "pgtandem doctor",
            "pgtandem doctor --format sarif",
            "pgtandem doctor --dsn postgres://postgres@db1 --dsn postgres://postgres@db2",
            "pgtandem doctor explain REP13",
        ),
        json=True,
        asks_hosts=True,
    ),
    "plan": Command(
        "show what apply would do, and change nothing",
        "Exit code 0 when there is nothing to do, 2 when there are changes.",
        ("pgtandem plan", "pgtandem plan --json"),
        json=True,
        asks_hosts=True,
    ),
    "whatif": Command(
        "tell what it would mean if nodes went down now, and change nothing",
        "From what is seen now: do writes stop, who would be promoted, what would be lost, what becomes of the others. "
        "Exit code 0 whatever the answer is.",
        ("pgtandem whatif db1-down", "pgtandem whatif db1-down db2-down", "pgtandem whatif zone:tokyo-a-down"),
        json=True,
        asks_hosts=True,
    ),
    "apply": Command(
        "make the cluster what the topology file says",
        "It shows the plan and asks first. Stopped half way, the same command goes on where it was.",
        ("pgtandem apply", "pgtandem -f shop.toml apply --yes"),
        changes=True,
    ),
    "switchover": Command(
        "make another node the primary, without losing a row",
        "The primary is stopped, the other node has everything and takes over, and every node follows it. "
        "It shows the plan and asks first. Stopped half way, the same command goes on where it was.",
        ("pgtandem switchover", "pgtandem switchover --to db2 --yes", "pgtandem switchover --at 02:30"),
        changes=True,
    ),
    "failover": Command(
        "make a standby the primary where the primary is gone",
        "The standby that received the most takes over; the old primary can only come back as a standby. "
        "It says what may be lost, and asks first.",
        ("pgtandem failover", "pgtandem failover --to db2 --yes"),
        changes=True,
    ),
    "rejoin": Command(
        "bring a former primary back as a standby",
        "What only it has is kept aside and reported; then pg_rewind takes it back, or its data is copied anew. "
        "It shows the plan and asks first.",
        ("pgtandem rejoin db1", "pgtandem rejoin db1 --copy --yes"),
        changes=True,
    ),
    "archive": Command(
        "show what the WAL archive holds, check it, remove what is not kept",
        "`list` goes by names and sizes, `verify` reads every file and compares it with its checksum. `prune` removes "
        "the backups that [backup] does not keep, and the WAL that no backup and no standby needs. Exit code 0 when "
        "nothing is wrong, 2 when something is.",
        ("pgtandem archive", "pgtandem archive verify", "pgtandem archive prune", "pgtandem archive list --json"),
        changes=True,
        json=True,
    ),
    "backup": Command(
        "take a base backup into the archive; list and verify those that are there",
        "From a standby where one is fit, else from the primary. It is kept once its WAL is in the archive and all of "
        "it was read back; then older ones go, as [backup] says.",
        (
            "pgtandem backup",
            "pgtandem backup --full --from db2 --yes",
            "pgtandem backup list",
            "pgtandem backup verify",
        ),
        changes=True,
        json=True,
    ),
    "restore": Command(
        "bring a moment of the past back, in a folder of its own beside the cluster",
        "Without --to it shows what can be restored, timeline by timeline. With it, a backup and the archived WAL are "
        "brought to that point by a server of their own, which archives nothing and streams from nobody; it stops "
        "there, readable and paused, or takes writes with --promote.",
        (
            "pgtandem restore",
            'pgtandem restore --to "2026-11-25 14:03"',
            "pgtandem restore --to 0/3000060 --into /scratch/shop",
            "pgtandem restore --to latest --promote --yes",
        ),
        changes=True,
        json=True,
    ),
    "drill": Command(
        "restore the last backup for trial, check what came back, and remove it again",
        "It says how long a restore takes, and how old the last transaction is that would come back. status and doctor "
        "tell when the last drill passed.",
        ("pgtandem drill", 'pgtandem drill --database shop --query "SELECT count(*) FROM orders" --yes'),
        changes=True,
    ),
    "history": Command(
        "show what was done to this cluster, by whom, and what was refused",
        "It reads the journal beside the topology file, and the servers' own history of timelines: a promotion that "
        "somebody made without pgtandem is in it too.",
        ("pgtandem history", "pgtandem history --last 3", "pgtandem history --json"),
        json=True,
        asks_hosts=True,
    ),
    "bench": Command(
        "measure what each durability level costs on this cluster",
        "pgbench under each of the five levels, in a scratch database that is removed afterwards, "
        "by settings of its own sessions: nothing else changes. It asks first.",
        ("pgtandem bench durability", "pgtandem bench durability --seconds 30 -o durability.svg --yes"),
        changes=True,
        json=True,
    ),
    "init": Command(
        "write a commented pgtandem.toml to begin with",
        "It overwrites nothing and builds nothing.",
        ("pgtandem init", 'pgtandem init --standbys 2 --synchronous "any 1" shop'),
    ),
    "adopt": Command(
        "write the topology file of a cluster that pgtandem did not build",
        "It looks at servers that run, on hosts or at DSNs (on this machine by default), and changes nothing. "
        "What pgtandem would change is then shown by pgtandem plan.",
        (
            "pgtandem adopt --host ssh://postgres@10.0.0.1 --host ssh://postgres@10.0.0.2",
            "pgtandem adopt --host ssh://postgres@10.0.0.1,port=5433 --ask-password",
            "pgtandem adopt",
        ),
        asks_hosts=True,
    ),
    "psql": Command(
        "open psql on the cluster",
        "What follows the options of pgtandem is given to psql as it is.",
        (
            "pgtandem psql",
            'pgtandem psql -c "SELECT now()"',
            "pgtandem psql --read-only shop -f report.sql",
            "pgtandem -f shop.toml psql",
        ),
    ),
    "uri": Command(
        "print a connection URI that survives role changes",
        "It names every node and the file that holds the password, never the password itself.",
        ('psql "$(pgtandem uri)"', "pgtandem uri --read-only"),
        json=True,
    ),
    "down": Command(
        "stop the cluster; with --destroy, remove it",
        "It shows the plan and asks first. --destroy removes only what pgtandem made;\nthe topology file stays.",
        ("pgtandem down", "pgtandem down --destroy demo"),
        changes=True,
    ),
}

#: Those that change the cluster.
CHANGING = tuple(name for name, command in COMMANDS.items() if command.changes)
