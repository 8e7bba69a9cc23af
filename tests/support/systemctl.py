"""A stand-in for systemd on a test host, where the real one cannot run (it must be the first process, with cgroups).

What pgtandem uses of systemctl: `show -p`, `start --no-block` and `stop --no-block`. Units start and stop
servers as the packages' own do (Debian's by pg_ctlcluster, RHEL's as postgres from PGDATA), and every call is recorded.
"""

from support.hosts import Hosts

_PROGRAM = r"""#!/bin/sh
units=/srv/units
printf '%s: %s\n' "$(id -un)" "$*" >>/srv/systemctl.log
verb=$1
case $verb in
show)
  shift 3
  for unit do
    printf 'Id=%s\n' "$unit"
    if [ -e "$units/$unit" ]; then
      cat "$units/$unit"
      if [ -e "$units/$unit.active" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
    else
      printf 'LoadState=not-found\nActiveState=inactive\n'
    fi
    echo
  done ;;
start | stop)
  if [ "$(id -u)" != 0 ]; then echo 'Failed: Interactive authentication required.' >&2; exit 1; fi
  unit=$3
  [ -e "$units/$unit" ] || { echo "Failed: Unit $unit not found." >&2; exit 5; }
  if [ "$verb" = start ]; then : >"$units/$unit.active"; else rm -f "$units/$unit.active"; fi
  case $unit in
  postgresql@*)
    name=${unit#postgresql@}
    set -- pg_ctlcluster --skip-systemctl-redirect "${name%.service}" "$verb" ;;
  *)
    data=$(sed -n 's/^Environment=PGDATA=//p' "$units/$unit")
    set -- runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl "$verb" -W -D "$data" -l "${data%/}.log" ;;
  esac
  setsid "$@" </dev/null >/dev/null 2>&1 & ;;
*) echo "the stand-in does not know $verb" >&2; exit 1 ;;
esac
"""


class Systemd:
    """Systemd as it looks on one host; use it as a context manager. `units` are the units' further properties."""

    def __init__(self, hosts: Hosts, host: str, units: dict[str, dict[str, str]]) -> None:
        self.hosts, self.host = hosts, host
        self.folder = hosts.srv(host) / "units"
        self.log = hosts.srv(host) / "systemctl.log"
        self.units = units

    def __enter__(self) -> "Systemd":
        self.folder.mkdir()
        for unit, properties in self.units.items():
            lines = [f"{key}={value}\n" for key, value in {"LoadState": "loaded", **properties}.items()]
            (self.folder / unit).write_text("".join(lines))
        self.log.touch()
        self.log.chmod(0o666)
        program = self.hosts.programs(self.host) / "systemctl"
        program.write_text(_PROGRAM)
        program.chmod(0o755)
        self.hosts.run(self.host, ["mkdir", "-p", "/run/systemd/system"])
        return self

    def __exit__(self, *_: object) -> None:
        self.hosts.run(self.host, ["rm", "-rf", "/run/systemd", "/usr/local/sbin/systemctl", "/srv/units"])
        self.log.unlink()

    def calls(self) -> list[str]:
        """Who had systemd start or stop what, in order."""
        return [line for line in self.log.read_text().splitlines() if " start " in line or " stop " in line]
