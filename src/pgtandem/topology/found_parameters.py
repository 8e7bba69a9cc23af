"""Which settings of servers that were found go into the topology file: what somebody chose, and pgtandem does not
decide. The rest stays in the servers' own files, where it is read as before."""

from collections import Counter
from collections.abc import Sequence

from pgtandem.model.found import Found
from pgtandem.postgres.amounts import spelled
from pgtandem.postgres.owned import OWNED
from pgtandem.postgres.settings import setting_spec
from pgtandem.topology import rebuilt

#: What initdb writes of the system's language and place, and what belongs to one host.
_LEFT = {
    *("datestyle", "timezone", "log_timezone", "default_text_search_config", "dynamic_shared_memory_type"),
    *("lc_messages", "lc_monetary", "lc_numeric", "lc_time", "external_pid_file", "stats_temp_directory"),
    *("wal_retrieve_retry_interval", "password_encryption", "wal_level", "log_file_mode"),
}

#: pgtandem computes these, and a lower number would only be in the way of one more standby.
_AT_LEAST = {"max_wal_senders": 20, "max_replication_slots": 20}

#: initdb writes these two by what it finds possible, mostly so.
_BY_INITDB = {"max_connections": "100", "shared_buffers": "16384", "max_wal_size": "1024", "min_wal_size": "80"}


def parameters_of(servers: Sequence[Found], primary: Found) -> tuple[dict[str, str], list[dict[str, str]], list[str]]:
    """Those that all servers have, with the value that most of them have, what each has otherwise, and remarks."""
    chosen = [_chosen(each) if each.marker is None else rebuilt.chosen_parameters(each, primary) for each in servers]
    shared = {}
    for name in sorted(chosen[0]):
        value, count = Counter(each.get(name) for each in chosen).most_common(1)[0]
        if value is not None and all(name in each for each in chosen) and 2 * count > len(chosen):
            shared[name] = value
    own = [{name: value for name, value in sorted(each.items()) if shared.get(name) != value} for each in chosen]
    remarks = []
    if any(each.value("password_encryption") in ("md5", "on") for each in servers):
        remarks.append("password_encryption was md5; it is scram-sha-256 from now on, for passwords that are set then")
    return shared, own, remarks


def _chosen(each: Found) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, setting in each.server.settings.items():
        spec, key = setting_spec(each.server.major, name), name.lower()
        if spec is None or not spec.changeable or key in OWNED or key in _LEFT or key.startswith("ssl"):
            continue
        if setting.source != "configuration file" or setting.value in (spec.default, _BY_INITDB.get(key)):
            continue
        if key in _AT_LEAST and setting.value.isdigit() and int(setting.value) <= _AT_LEAST[key]:
            continue
        if key == "listen_addresses" and setting.value in ("localhost", each.host_name):
            continue
        found[name] = spelled(spec, setting.value)
    if each.value("wal_level") == "logical":
        found["wal_level"] = "logical"
    if each.host.is_local:
        # pgtandem's own servers on this machine have no socket.
        found["unix_socket_directories"] = each.value("unix_socket_directories")
        if each.value("listen_addresses") == "localhost":
            found["listen_addresses"] = "localhost"
    return found
