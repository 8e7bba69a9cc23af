"""Hosts for tests, on one Linux machine: each a set of namespaces with its own address, sshd, accounts and files.

A host has its own network, process, mount and UTS namespace, its own /etc/passwd, /etc/ssh, /etc/sudoers, /etc/hosts,
/etc/os-release, /run, /tmp and /srv, its own folders of Debian's PostgreSQL (/etc/postgresql, /var/lib/postgresql,
/var/log/postgresql) and of programs that it alone has (/usr/local/sbin), and a real sshd as process 1: kill it and the
whole host is gone. All hosts and the control seat "ctl" are plugged into one bridge. All but /run and /tmp outlives a
power cycle. The rest of the file system is this machine's; of its /tmp only the environment that the tests run in, if
that lies there. Needs root; nothing of this machine's network is touched, and everything goes when the tests end.

Accounts of every host: "postgres" (who servers run as, and who may log in), "alice" (who has sudo to postgres, and
whose shell chatters when it starts), "bob" (who has no sudo).
"""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.servers import wait_until

CONTROL = "ctl"

_NEEDED = ("ip", "nft", "sshd", "ssh", "ssh-keygen", "sudo", "nsenter", "unshare")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IPV4, _IPV6 = "10.231.0", "fd5a:7067::"
_ACCOUNTS = {"postgres": 64321, "alice": 64322, "bob": 64323}
_PREFIX = "pgtt"
_numbers = itertools.count()
_living: set["Hosts"] = set()

_BOOT = """
set -e
own=$1
hostname "$2"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock
install -d -o 64321 -g 64321 /run/postgresql
mount --bind "$own/srv" /srv
mount --bind "$own/ssh" /etc/ssh
for file in hosts passwd shadow group sudoers os-release; do mount --bind "$own/etc/$file" "/etc/$file"; done
for folder in etc lib log; do
  case $folder in etc) at=/etc/postgresql ;; *) at=/var/$folder/postgresql ;; esac
  if [ -d "$at" ]; then mount --bind "$own/postgresql/$folder" "$at"; fi
done
mount --bind "$own/programs" /usr/local/sbin
"""

_SSHD_FIRST = """
case $3 in /tmp/*) mkdir /run/environment && mount --bind "$3" /run/environment ;; esac
mount -t tmpfs -o mode=1777 tmpfs /tmp
case $3 in /tmp/*) mkdir -p "$3" && mount --bind /run/environment "$3" ;; esac
exec /usr/sbin/sshd -D -e
"""

_SSHD = """
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
MaxStartups 100
Subsystem sftp internal-sftp
"""

_SUDOERS = """
root ALL=(ALL) ALL
alice ALL=(postgres) NOPASSWD: ALL
"""


def why_no_hosts() -> str | None:
    """Why hosts cannot be made here, None when they can."""
    if os.geteuid() != 0:
        return "test hosts need root (network namespaces)"
    missing = [program for program in _NEEDED if not shutil.which(program, path=_PATH)]
    if missing:
        return f"test hosts need {', '.join(missing)}: sh scripts/test-packages.sh"
    if subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        return "test hosts need namespaces, which cannot be made here"
    return None


class Hosts:
    """So many hosts, h1, h2 and so on, and the control seat; use it as a context manager."""

    def __init__(self, count: int = 3) -> None:
        _remove_leftovers()
        self._tag = f"{_PREFIX}{os.getpid()}x{next(_numbers)}"
        self.folder = Path(tempfile.gettempdir()) / self._tag
        self.names = tuple(f"h{number}" for number in range(1, count + 1))
        self._init: dict[str, int] = {}
        self._outer: dict[str, subprocess.Popen[bytes]] = {}
        self._consoles: dict[str, int] = {}

    def __enter__(self) -> "Hosts":
        _living.add(self)
        try:
            self._make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def address(self, host: str) -> str:
        return f"{_IPV4}.{_number(host)}"

    def address6(self, host: str) -> str:
        return f"{_IPV6}{_number(host)}"

    def srv(self, host: str) -> Path:
        """The host's /srv, as seen from this machine."""
        return self.folder / host / "srv"

    def programs(self, host: str) -> Path:
        """The host's /usr/local/sbin, as seen from this machine: what is put there comes before the system's own."""
        return self.folder / host / "programs"

    def sudoers(self, host: str) -> Path:
        """The host's /etc/sudoers, as seen from this machine."""
        return self.folder / host / "etc/sudoers"

    def os_release(self, host: str) -> Path:
        """The host's /etc/os-release, as seen from this machine."""
        return self.folder / host / "etc/os-release"

    @property
    def key(self) -> Path:
        """The private key that lets postgres, alice and bob in, on every host."""
        return self.folder / "key"

    def host_key(self, host: str) -> str:
        """Type and key, as they stand in known_hosts."""
        return " ".join((self.folder / host / "ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])

    def fingerprint(self, host: str) -> str:
        shown = _output("ssh-keygen", "-lf", str(self.folder / host / "ssh/ssh_host_ed25519_key.pub"))
        return shown.split()[1]

    @property
    def first_process(self) -> str:
        """The last words of a host's boot script: what becomes its process 1."""
        return _SSHD_FIRST

    # --- what is done on a host

    def run(self, host: str, argv: Sequence[str], user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command there as root or as `user`; at the control seat only the network is another."""
        command = ["runuser", "-u", user, "--", *argv] if user else list(argv)
        return subprocess.run([*self._inside(host), *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def control_program(self, folder: Path, program: str) -> Path:
        """A script in `folder` that runs a program of this machine at the control seat."""
        real = shutil.which(program, path=_PATH)
        script = folder / program
        script.write_text(f'#!/bin/sh\nexec nsenter --net={self._namespace(CONTROL)} {real} "$@"\n')
        script.chmod(0o755)
        return script

    def at_control(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a command of this machine at the control seat."""
        return ["nsenter", f"--net={self._namespace(CONTROL)}", "--", *argv]

    def processes(self, host: str, words: str) -> list[int]:
        """The ids, on the host, of its processes whose command line holds these words."""
        listed = self.run(host, ["ps", "-eo", "pid=,args="]).stdout.splitlines()
        return [int(line.split()[0]) for line in listed if words in line and "ps -eo" not in line]

    def processor_seconds(self, host: str) -> float:
        """The processor time of all its processes, those that have ended among them."""
        total, left = 0, [self._init[host]]
        while left:
            process = left.pop()
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, fields[11:15]))
                for thread in Path(f"/proc/{process}/task").iterdir():
                    left += map(int, (thread / "children").read_text().split())
        return total / os.sysconf("SC_CLK_TCK")

    # --- what happens to a host

    def alive(self, host: str) -> bool:
        return host in self._outer

    def power_off(self, host: str) -> None:
        """A power failure: its peers see silence, no closed connection."""
        self.cut(host)
        self._kill(host)

    def crash(self, host: str) -> None:
        """Every process of the host is killed at once; its kernel still closes the connections."""
        self._kill(host)

    def boot(self, host: str) -> None:
        """Starts a host that is off, and waits until its sshd listens."""
        self.heal(host)
        self._start(host)
        self._wait_for_sshd(host)

    def cut(self, host: str) -> None:
        """Takes its cable out."""
        self._ip("sw", f"link set {host} down")

    def heal(self, host: str) -> None:
        """Puts its cable back."""
        self._ip("sw", f"link set {host} up")

    def freeze(self, host: str) -> None:
        """Every process of the host stands still; its kernel goes on, so that connections stay, and new ones begin."""
        for _ in range(2):  # one that was just being made may have been missed
            os.kill(self._init[host], signal.SIGSTOP)
            self.run(host, ["sh", "-c", "kill -STOP -1"])

    def thaw(self, host: str) -> None:
        os.kill(self._init[host], signal.SIGCONT)
        self.run(host, ["sh", "-c", "kill -CONT -1"])

    def block(self, source: str, target: str) -> None:
        """Drops what `source` sends to `target`, one way."""
        rules = ["add table inet pgt", "add chain inet pgt in { type filter hook input priority 0; }"]
        rules.append(f"add rule inet pgt in ip saddr {self.address(source)} drop")
        rules.append(f"add rule inet pgt in ip6 saddr {self.address6(source)} drop")
        _output("nsenter", f"--net={self._namespace(target)}", "nft", "\n".join(rules))

    def firewall(self, target: str, rule: str) -> None:
        """Adds a rule of nft for what comes to `target`."""
        rules = ["add table inet pgt", "add chain inet pgt in { type filter hook input priority 0; }"]
        rules.append(f"add rule inet pgt in {rule}")
        _output("nsenter", f"--net={self._namespace(target)}", "nft", "\n".join(rules))

    def configure_sshd(self, host: str, *lines: str) -> None:
        """Starts its sshd anew with these lines before the usual ones."""
        (self.folder / host / "ssh/sshd_config").write_text("\n".join(lines) + _SSHD)
        self._reload_sshd(host)
        self._wait_for_sshd(host)

    @contextlib.contextmanager
    def another_program(self, host: str, program: str, script: str) -> Iterator[None]:
        """A script stands in for a program of the host."""
        path = shutil.which(program, path=_PATH)
        assert path is not None
        file = self.folder / host / "srv" / f"another-{program}"
        file.write_text(script)
        file.chmod(0o755)
        self.run(host, ["mount", "--bind", f"/srv/{file.name}", path])
        try:
            yield
        finally:
            self.run(host, ["umount", path])
            file.unlink()

    def unblock(self, target: str) -> None:
        """Forgets every block at `target`."""
        command = ["nsenter", f"--net={self._namespace(target)}", "nft", "delete table inet pgt"]
        subprocess.run(command, capture_output=True, check=False)

    def new_host_key(self, host: str) -> None:
        """The host was set up anew: it has another key from now on."""
        self._make_host_key(host)
        self._reload_sshd(host)
        self._wait_for_sshd(host)

    def _reload_sshd(self, host: str) -> None:
        os.kill(self._init[host], signal.SIGHUP)  # sshd starts itself anew, with the same process id

    # --- making and removing

    def _make(self) -> None:
        self.folder.mkdir(mode=0o755)
        _output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(self.key))
        self._add_namespace("sw")
        self._ip("sw", "link add br0 type bridge forward_delay 0", "link set br0 up")
        for host in (CONTROL, *self.names):
            self._plug_in(host)
        for host in self.names:
            self._know_neighbours(host)
            self._make_files(host)
            self._start(host)
        for host in self.names:
            self._wait_for_sshd(host)

    def remove(self) -> None:
        for host in self.names:
            self._kill(host)
        for seat in ("sw", CONTROL, *self.names):
            subprocess.run(["ip", "netns", "del", self._namespace_name(seat)], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        _living.discard(self)

    def _add_namespace(self, seat: str) -> None:
        _output("ip", "netns", "add", self._namespace_name(seat))

    def _plug_in(self, seat: str) -> None:
        self._add_namespace(seat)
        self._ip(
            "sw",
            f"link add {seat} type veth peer name eth0 address {_mac(seat)} netns {self._namespace_name(seat)}",
            f"link set {seat} master br0 up",
        )
        self._ip(
            seat,
            "link set lo up",
            f"addr add {self.address(seat)}/24 dev eth0",
            f"addr add {self.address6(seat)}/64 dev eth0 nodad",
            "link set eth0 up",
        )

    def _know_neighbours(self, host: str) -> None:
        """All namespaces share one kernel's table of 1024 learnt neighbours, and fifty hosts have 2450: packets would
        be lost. Those that are set for good do not count."""
        others = [other for other in (CONTROL, *self.names) if other != host]
        known = [f"neigh add {self.address(other)} lladdr {_mac(other)} dev eth0 nud permanent" for other in others]
        self._ip(host, *known)

    def _make_files(self, host: str) -> None:
        own = self.folder / host
        for part in ("srv", "ssh", "etc", "programs", "postgresql/etc", "postgresql/lib", "postgresql/log"):
            (own / part).mkdir(parents=True)
        for part in ("etc", "lib", "log"):
            os.chown(own / "postgresql" / part, _ACCOUNTS["postgres"], _ACCOUNTS["postgres"])
        shutil.copyfile("/etc/os-release", own / "etc/os-release")
        self._make_host_key(host)
        (own / "ssh/sshd_config").write_text(_SSHD)
        names = "".join(f"{self.address(name)} {name}\n" for name in (CONTROL, *self.names))
        (own / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{names}")
        for file, line in (
            ("passwd", "{name}:x:{uid}:{uid}::/srv/{name}:/bin/bash"),
            ("group", "{name}:x:{uid}:"),
            # "*" and not "!": without PAM sshd refuses a locked account.
            ("shadow", "{name}:*:19000:0:99999:7:::"),
        ):
            here = Path("/etc", file).read_text().splitlines()
            kept = [text for text in here if text.split(":")[0] not in _ACCOUNTS]
            added = [line.format(name=name, uid=uid) for name, uid in _ACCOUNTS.items()]
            (own / "etc" / file).write_text("\n".join([*kept, *added]) + "\n")
        (own / "etc/shadow").chmod(0o600)
        (own / "etc/sudoers").write_text(_SUDOERS)
        (own / "etc/sudoers").chmod(0o440)
        for name, uid in _ACCOUNTS.items():
            home = own / "srv" / name
            (home / ".ssh").mkdir(parents=True, mode=0o700)
            home.chmod(0o755)
            shutil.copy(f"{self.key}.pub", home / ".ssh/authorized_keys")
            if name == "alice":
                (home / ".bashrc").write_text("echo welcome to the host; echo 'disk is nearly full' >&2\n")
            for path in (home, *home.rglob("*")):
                os.chown(path, uid, uid)

    def _make_host_key(self, host: str) -> None:
        file = self.folder / host / "ssh/ssh_host_ed25519_key"
        file.unlink(missing_ok=True)
        _output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host, "-f", str(file))

    def _start(self, host: str) -> None:
        own = self.folder / host
        console = own / "console"
        console.touch()
        self._consoles[host] = console.stat().st_size
        namespaces = ["--pid", "--fork", "--kill-child=KILL", "--mount", "--uts", "--ipc", "--mount-proc"]
        inside = ["sh", "-c", _BOOT + self.first_process, "boot", str(own), host, sys.prefix]
        with console.open("ab") as log:
            self._outer[host] = subprocess.Popen(
                ["nsenter", f"--net={self._namespace(host)}", "unshare", *namespaces, *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for_sshd(self, host: str) -> None:
        outer = self._outer[host]
        console = self.folder / host / "console"

        def listens() -> bool:
            if outer.poll() is not None:
                raise AssertionError(f"host {host} did not start\n{console.read_text()}")
            said = console.read_bytes()[self._consoles[host] :]
            return b"listening on 0.0.0.0 port 22" in said and b"listening on :: port 22" in said

        wait_until(listens, f"sshd of {host} listens", 60)
        self._init[host] = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])
        self._consoles[host] = console.stat().st_size

    def _kill(self, host: str) -> None:
        outer = self._outer.pop(host, None)
        if outer is None:
            return
        init = self._init.pop(host, None)
        with contextlib.suppress(ProcessLookupError):
            os.kill(init or outer.pid, signal.SIGKILL)  # the kernel kills everything else in the host
        try:
            outer.wait(30)
        except subprocess.TimeoutExpired:
            outer.kill()
            outer.wait()

    def _inside(self, host: str) -> list[str]:
        if host == CONTROL:
            return ["nsenter", f"--net={self._namespace(CONTROL)}"]
        return ["nsenter", "-t", str(self._init[host]), "--all"]

    def _namespace_name(self, seat: str) -> str:
        return f"{self._tag}-{seat}"

    def _namespace(self, seat: str) -> str:
        return f"/run/netns/{self._namespace_name(seat)}"

    def _ip(self, seat: str, *commands: str) -> None:
        argv = ["ip", "-n", self._namespace_name(seat), "-batch", "-"]
        done = subprocess.run(argv, input="\n".join(commands), capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"ip: {commands}: {done.stderr}")


def _number(host: str) -> int:
    return 254 if host == CONTROL else int(host.removeprefix("h"))


def _mac(seat: str) -> str:
    return f"02:67:74:00:00:{_number(seat):02x}"


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise AssertionError(f"{argv}: {done.stderr}")
    return done.stdout


def _remove_leftovers() -> None:
    """Removes what tests left that were killed: names hold the process id of who made them."""
    for folder in (Path("/run/netns"), Path(tempfile.gettempdir())):
        for entry in folder.glob(f"{_PREFIX}[0-9]*x[0-9]*"):
            pid = int(entry.name.removeprefix(_PREFIX).split("x")[0])
            if Path(f"/proc/{pid}").exists():
                continue
            if folder.name == "netns":
                subprocess.run(["ip", "netns", "del", entry.name], capture_output=True, check=False)
            else:
                shutil.rmtree(entry, ignore_errors=True)


@atexit.register
def _remove_all() -> None:
    for hosts in list(_living):
        hosts.remove()
