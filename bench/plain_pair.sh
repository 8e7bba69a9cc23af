#!/bin/sh
# plain_pair.sh FOLDER PROGRAMS PORT PORT2 [archive]: a primary and a streaming standby in FOLDER, by hand.
# What an operator types who knows the manual: nothing is left out that pgtandem does, and nothing slows it down.
set -eu
folder=$1 programs=$2 port=$3 port2=$4 archive=${5:-}
primary=$folder/primary standby=$folder/standby
umask 077
cd "$folder"
PATH=$programs:$PATH
PGPASSFILE=$folder/passfile
export PATH PGPASSFILE
LC_ALL=C
export LC_ALL

random_password() { od -An -N18 -tx1 /dev/urandom | tr -d ' \n'; }
superuser=$(random_password)
replication=$(random_password)
printf '*:*:*:postgres:%s\n*:*:*:replicator:%s\n' "$superuser" "$replication" >"$PGPASSFILE"
printf '%s\n' "$superuser" >pwfile

ask() { psql -X -A -t -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -U postgres -d postgres -p "$@"; }

initdb -D "$primary" -U postgres --pwfile=pwfile --auth-local=scram-sha-256 --auth-host=scram-sha-256 \
    --data-checksums --encoding=UTF8 --no-locale >initdb.log
rm pwfile

cat >>"$primary/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
cluster_name = 'plain/primary'
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_slot_wal_keep_size = 8GB
wal_retrieve_retry_interval = 500ms
password_encryption = scram-sha-256
hot_standby = on
END
cat >>"$primary/pg_hba.conf" <<END
host replication replicator 127.0.0.1/32 scram-sha-256
END
if [ "$archive" ]; then
    mkdir "$folder/archive"
    # The manual's own commands (25.3.1 and 25.3.5).
    cat >>"$primary/postgresql.conf" <<END
archive_mode = on
archive_command = 'test ! -f "$folder/archive/%f" && cp "%p" "$folder/archive/%f"'
restore_command = 'cp "$folder/archive/%f" "%p"'
END
fi
pg_ctl -D "$primary" -l primary.log -w -s start

ask "$port" <<END
SET log_statement = 'none';
CREATE ROLE replicator LOGIN REPLICATION PASSWORD '$replication';
SELECT pg_create_physical_replication_slot('standby', true);
END

pg_basebackup -d "host=127.0.0.1 port=$port user=replicator application_name=standby" -D "$standby" -R \
    --checkpoint=fast --slot=standby

cat >>"$standby/postgresql.conf" <<END
port = $port2
cluster_name = 'plain/standby'
END
pg_ctl -D "$standby" -l standby.log -w -s start

until [ "$(ask "$port" -c "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")" = 1 ]; do
    sleep 0.1
done

ask "$port" -c "CREATE TABLE proof AS SELECT 42 AS answer"
until [ "$(ask "$port2" -c "SELECT answer FROM proof" 2>/dev/null)" = 42 ]; do
    sleep 0.1
done

if [ "$archive" ]; then
    segment=$(ask "$port" -c "SELECT pg_walfile_name(pg_switch_wal())")
    until [ -f "$folder/archive/$segment" ]; do
        sleep 0.1
    done
fi
echo "streaming: the standby on port $port2 shows a row that was written on port $port"
