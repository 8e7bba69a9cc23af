#!/bin/sh
# Installs what the tests need and this machine lacks, by apt-get: real hosts in network namespaces, a real PostgreSQL
# of the distribution. Silent when nothing is missing. Never fails a run: where it may not install, it says what is
# missing, and the tests say what they skip for it.
#
#   test-packages.sh           installs
#   test-packages.sh --long    installs what the long tests (make chaos) need, too
#   test-packages.sh --list    only names what is missing, one package per line
set -u
PATH=$PATH:/usr/sbin:/sbin
long=
[ "${1:-}" != --long ] || long=yes

# Package and a file that tells that it is there.
needed() {
    cat <<'LIST'
openssh-client /usr/bin/ssh
openssh-server /usr/sbin/sshd
iproute2 ip
nftables nft
sudo sudo
systemd /lib/systemd/systemd
dbus dbus-daemon
busybox busybox
pgbouncer pgbouncer
haproxy haproxy
tmux tmux
chromium chromium
lz4 lz4
zstd zstd
postgresql-15 /usr/lib/postgresql/15/bin/postgres
LIST
    [ -n "$long" ] || return 0
    # Other programs that keep WAL archives.
    cat <<'LIST'
pgbackrest pgbackrest
barman barman
barman-cli barman-wal-archive
rsync rsync
LIST
}

missing() {
    needed | while read -r package file; do
        command -v "$file" >/dev/null 2>&1 || echo "$package"
    done
}

packages=$(missing)
if [ "${1:-}" = --list ]; then
    [ -z "$packages" ] || echo "$packages"
    exit 0
fi
[ -n "$packages" ] || exit 0
# shellcheck disable=SC2086
words=$(echo $packages)

if ! command -v apt-get >/dev/null 2>&1; then
    echo "test-packages: this machine has no apt-get; not installed, and skipped by the tests: $words"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "test-packages: only root may install; not installed, and skipped by the tests: $words"
    echo "next:  sudo sh scripts/test-packages.sh"
    exit 0
fi

# Installing must start nothing: no cluster on port 5432, no sshd, no PgBouncer. The two mean the same to different
# scripts: invoke-rc.d asks policy-rc.d, and postgresql-common makes the cluster "main" unless its file says not to.
undo=
begin() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d && undo="$undo policy"
    fi
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common &&
            printf '%s\n' "# Written by pgtandem's scripts/test-packages.sh: installing servers makes no cluster." \
                'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf && undo="$undo cluster"
    fi
}
# shellcheck disable=SC2317
end() {
    case $undo in *policy*) rm -f /usr/sbin/policy-rc.d ;; esac
    # Once the package is there the file belongs to it, and stays.
    case $undo in *cluster*) [ -e /usr/bin/pg_createcluster ] || rm -f /etc/postgresql-common/createcluster.conf ;; esac
    rm -f "$log"
}
log=$(mktemp)
trap end EXIT
trap 'exit 1' HUP INT TERM

install() {
    # A conffile that is there is kept: ours, and whatever an administrator changed.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qy -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
        -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" >"$log" 2>&1 </dev/null
}

begin
echo "test-packages: installing $words ..."
# shellcheck disable=SC2086
if ! install $packages; then
    # The lists may be old or were never fetched.
    apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 </dev/null
    # One that this distribution lacks (another PostgreSQL major) must not keep the others out.
    for package in $packages; do install "$package" || tail -n 3 "$log" >&2; done
fi
# shellcheck disable=SC2046
still=$(echo $(missing))
if [ -n "$still" ]; then
    echo "test-packages: could not install, and skipped by the tests: $still"
else
    echo "test-packages: installed $words"
fi
exit 0
