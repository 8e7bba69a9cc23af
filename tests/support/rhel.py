"""What makes a test host look like RHEL with PostgreSQL's own packages, as far as that can be had without one.

Programs in /usr/pgsql-15/bin and nowhere else, the unit postgresql-15.service in the shape of those packages (its
PGDATA names the data directory, it runs the server itself and is told by it when it is ready), the account's home in
/var/lib/pgsql, ID=rhel, and nothing of Debian's PostgreSQL: no register of clusters, no units, no generator. The
programs are still Debian's build; SELinux and RHEL's own sshd, systemd and C library are not shown by it.
"""

from support.systemd_hosts import SystemdHosts

UNIT, DATA, PROGRAMS = "postgresql-15.service", "/var/lib/pgsql/15/data", "/usr/pgsql-15/bin"

OS_RELEASE = (
    'NAME="Red Hat Enterprise Linux"\nVERSION="9.4 (Plow)"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n'
    'PRETTY_NAME="Red Hat Enterprise Linux 9.4 (Plow)"\n'
)

_UNIT_TEXT = f"""[Unit]
Description=PostgreSQL 15 database server
After=syslog.target network-online.target

[Service]
Type=notify
User=postgres
Group=postgres
Environment=PGDATA={DATA}/
OOMScoreAdjust=-1000
Environment=PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj
Environment=PG_OOM_ADJUST_VALUE=0
ExecStartPre=/usr/bin/test -f ${{PGDATA}}/PG_VERSION
ExecStart={PROGRAMS}/postgres -D ${{PGDATA}}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
KillSignal=SIGINT
TimeoutSec=0
TimeoutStartSec=0
TimeoutStopSec=1h

[Install]
WantedBy=multi-user.target
"""

# Over /usr and /var lies a layer of the host's own, so that none of this is seen by the machine.
_FITTINGS = f"""
for part in usr var; do
  mkdir -p "$own/$part-layer" "$own/$part-work"
  mount -t overlay overlay -o "lowerdir=/$part,upperdir=$own/$part-layer,workdir=$own/$part-work" /$part
done
umount /etc/postgresql
mount -t tmpfs tmpfs /etc/postgresql
rm -f /usr/bin/pg_*cluster* /usr/lib/systemd/system/postgresql*.service /usr/lib/systemd/system-generators/postgresql*
mkdir -p {PROGRAMS.rpartition("/")[0]} {DATA.rpartition("/")[0]}
mount --bind /usr/lib/postgresql/15 {PROGRAMS.rpartition("/")[0]}
mount -t tmpfs tmpfs /usr/lib/postgresql/15
if [ ! -e /var/lib/pgsql/.ssh ]; then cp -Rp /srv/postgres/.ssh /var/lib/pgsql/; fi
chown -R 64321:64321 /var/lib/pgsql
chmod 700 /var/lib/pgsql
"""


class RhelHosts(SystemdHosts):
    """So many hosts as the module's docstring says."""

    def __init__(self, count: int = 2) -> None:
        super().__init__(count, _FITTINGS)

    def _make_files(self, host: str) -> None:
        super()._make_files(host)
        self.os_release(host).write_text(OS_RELEASE)
        own = self.folder / host
        passwd = own / "etc/passwd"
        passwd.write_text(passwd.read_text().replace(":/srv/postgres:", ":/var/lib/pgsql:"))
        units = own / "systemd/system"
        (units / "multi-user.target.wants/postgresql.service").unlink()
        (units / UNIT).write_text(_UNIT_TEXT)
