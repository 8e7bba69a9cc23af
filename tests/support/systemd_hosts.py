"""Test hosts whose process 1 is the real systemd: units, cgroups, dependencies, the order at boot and at shutdown.

As `Hosts`, with sshd, journald and D-Bus as services of systemd. It has this machine's units, but /etc/systemd is the
host's own, and of what boots by itself only those three and Debian's PostgreSQL are left: the rest would look for
devices, consoles and clocks that belong to this machine. Its cgroups are a folder of this machine's cgroup v2 that it
takes for the root of all; the kernel's controllers may be elsewhere (cgroup v1), which units of servers do not miss.
"""

import contextlib
import os
import signal
from pathlib import Path

from support.hosts import Hosts, why_no_hosts
from support.servers import wait_until

_SYSTEMD = "/lib/systemd/systemd"
_UNITS = Path("/lib/systemd/system")

#: What boots by itself, of all that the machine's packages have put into the targets of an ordinary boot.
_KEPT = ("systemd-journald.service", "systemd-journald.socket", "dbus.socket", "dbus.service")
_TARGETS = ("sysinit", "basic", "sockets", "local-fs", "timers", "multi-user", "getty", "graphical")
_MASKED = ("getty.target", "systemd-logind.service", "systemd-remount-fs.service", "systemd-udevd.service")
#: What makes units of a machine's files at boot: only Debian's of its clusters, and nothing of fstab.
_GENERATORS, _KEPT_GENERATOR = Path("/lib/systemd/system-generators"), "postgresql-generator"

_SSHD_UNIT = """[Unit]
Description=OpenSSH server of a test host
After=network.target

[Service]
ExecStart=/usr/sbin/sshd -D -e
ExecReload=/bin/kill -HUP $MAINPID
StandardOutput=append:/run/console
StandardError=append:/run/console
KillMode=process

[Install]
WantedBy=multi-user.target
"""

# The machine's own console and kernel log are not a test's to write to. The variable `container` has systemd leave
# devices, swap and the clock alone.
_SYSTEMD_FIRST = """
mount --bind "$own/systemd" /etc/systemd
mount --bind "$own/state" /var/lib/systemd
for file in console kmsg; do if [ -e /dev/$file ]; then mount --bind /dev/null /dev/$file; fi; done
touch /run/console
mount --bind "$own/console" /run/console
group=GROUP-$2
echo 0 >"$group/cgroup.procs"
mount -t tmpfs -o mode=1777 tmpfs /tmp
exec unshare --cgroup sh -ec '
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system'
"""


def why_no_systemd() -> str | None:
    """Why hosts with systemd cannot be made here, None when they can."""
    if reason := why_no_hosts():
        return reason
    missing = [path for path in (_SYSTEMD, "/usr/bin/dbus-daemon") if not Path(path).exists()]
    if missing:
        return f"hosts with systemd need {' and '.join(missing)}: sh scripts/test-packages.sh"
    mounted = _cgroups()
    if mounted is None or not os.access(mounted, os.W_OK):
        return "hosts with systemd need cgroup v2, mounted and writable"
    return None


class SystemdHosts(Hosts):
    """So many hosts with systemd; `fittings` are shell commands that make a host what it is before systemd starts."""

    def __init__(self, count: int = 2, fittings: str = "") -> None:
        super().__init__(count)
        self._fittings = fittings
        self._cgroups = _cgroups() or Path("/nonexistent")

    def power_button(self, host: str) -> None:
        """An orderly shutdown, waited for: systemd stops what it has started, in its order."""
        outer = self._outer[host]
        os.kill(self._init[host], signal.SIGRTMIN + 4)  # what `systemctl poweroff` tells process 1
        outer.wait(60)
        self._kill(host)

    def systemctl(self, host: str, *arguments: str) -> str:
        """What systemctl says, as root; whatever its exit code."""
        done = self.run(host, ["systemctl", "--no-pager", *arguments])
        return (done.stdout + done.stderr).strip()

    def control_group(self, host: str, pid: str) -> str:
        """Where systemd keeps a process."""
        return self.run(host, ["cat", f"/proc/{pid}/cgroup"]).stdout

    def log(self, host: str, unit: str) -> str:
        """What the journal of this boot has of a unit."""
        return self.run(host, ["journalctl", "-b", "-o", "cat", "-u", unit]).stdout

    @property
    def first_process(self) -> str:
        return self._fittings + _SYSTEMD_FIRST.replace("GROUP", str(self._cgroups / self._tag))

    def _make_files(self, host: str) -> None:
        super()._make_files(host)
        own = self.folder / host
        wanted = own / "systemd/system/multi-user.target.wants"
        wanted.mkdir(parents=True)
        (own / "state").mkdir()
        units = wanted.parent
        (own / "systemd/journald.conf").write_text("[Journal]\nStorage=volatile\n")
        (units / "sshd.service").write_text(_SSHD_UNIT)
        (units / "default.target").symlink_to(_UNITS / "multi-user.target")
        for name in ("sshd.service", "postgresql.service"):
            place = units if (units / name).exists() else _UNITS
            if (place / name).exists():
                (wanted / name).symlink_to(place / name)
        booting = {file.name for target in _TARGETS for file in _UNITS.glob(f"{target}.target.wants/*")}
        for unit in {*_MASKED, *(name for name in booting if not name.endswith((".target", ".path")))}.difference(
            _KEPT
        ):
            (units / unit).symlink_to("/dev/null")
        generators = own / "systemd/system-generators"
        generators.mkdir()
        for file in _GENERATORS.iterdir():
            if file.name != _KEPT_GENERATOR:
                (generators / file.name).symlink_to("/dev/null")

    def _start(self, host: str) -> None:
        self._cgroup(host).mkdir(exist_ok=True)
        super()._start(host)

    def _kill(self, host: str) -> None:
        super()._kill(host)
        _remove_cgroup(self._cgroup(host))

    def _reload_sshd(self, host: str) -> None:
        self.systemctl(host, "reload", "sshd")

    def _cgroup(self, host: str) -> Path:
        return self._cgroups / f"{self._tag}-{host}"


def _cgroups() -> Path | None:
    """Where cgroup v2 is mounted, if it is."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def _remove_cgroup(folder: Path) -> None:
    """Its processes were killed; the kernel forgets them one after the other."""

    def gone() -> bool:
        for place, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(place)
        return not folder.exists()

    wait_until(gone, f"the processes of {folder} are gone", 20)
