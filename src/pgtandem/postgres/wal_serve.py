"""The forced command of a key on a host that has WAL: gives out WAL files of one folder, and may take them in.

It never sees a path. What goes over a connection: after whatever the login shell prints comes the line `MARK`.

"hello" is answered by the rights, or "missing" where the archive's folder is not there.

"get NAME COUNT [PROGRAMS]" is answered by up to COUNT times a line "NAME BYTES NEXT FORM CHECKSUMS" and so many bytes:
NEXT is the segment that follows, FORM none, lz4 or zstd, CHECKSUMS what was recorded of the stored file
(",CHECKSUM:BYTES", more than one where it was written more than once), or "-". Then "end"; "absent" where not even the
first is there. PROGRAMS ("lz4,zstd") are what the other end can expand with: WAL that is stored as it is then goes
through one of them, all of it in one stream, behind a line "packed PROGRAM".

"tail NAME CHECKSUM [PROGRAMS]" is answered by a line "tail BYTES FORM" and the segment as far as the archive's stream
brought it, in that form; "absent" where there is nothing of it, or just what the other end has ("CHECKSUM:BYTES").

"programs" is answered by those that "store" can expand with.

"store" reads lines "file STORED BYTES CHECKSUM", each with so many bytes behind, and "commit", which makes what came
since the last one durable and is answered by a line "MARK stored STORED" for each file. More may come meanwhile. Where
the line goes on with "PACKED PROGRAM", PACKED bytes come, which that program expands to the file.

With the right to put, "backup LABEL FILE" writes what comes to one of the tars of a half-made backup that pgtandem has
begun, and "fetch LABEL FILE" gives out a file of a whole one, behind `MARK`.
"""

from pgtandem.postgres.wal_shell import COPY, FIND, IS_WAL_FILE, STORE

MARK = "\036pgtandem-wal"

SERVE_TEXT = (
    r"""#!/bin/sh
# serve-wal FOLDER [put]: what one key of sshd's authorized_keys may do here. Made by pgtandem.
# Reads nothing but SSH_ORIGINAL_COMMAND: "get NAME [COUNT [PROGRAMS]]" gives out WAL files of FOLDER, "store" adds what
# comes, "tail" gives out what was only streamed as yet, "hello" tells what is allowed, "programs" what this host can
# expand. NAME is the name of a WAL file, never a path. Who may store may also fill a backup whose folder was made for
# it, and fetch one.
set -uf
PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C
export PATH LC_ALL
umask 077
folder=$1 rights=${2-}
say() { echo "serve-wal: $1" >&2; }
refuse() {
    say "$1"
    exit 1
}
"""
    + IS_WAL_FILE.lstrip()
    + FIND
    + COPY
    + STORE
    + r"""
is_number() { # from 1 to $2 digits
    case $1 in '' | 0* | *[!0-9]*) return 1 ;; esac
    [ "${#1}" -le "$2" ]
}
is_size() { is_number "$1" 10 && [ "$1" -le 1073741824 ]; }
is_stored() { # a WAL file in one of its forms
    case $1 in
    *.zst) is_wal_file "${1%.zst}" ;;
    *.lz4) is_wal_file "${1%.lz4}" ;;
    *) is_wal_file "$1" ;;
    esac
}
answer() {
    printf '\n\036pgtandem-wal\n'
    [ -d "$folder" ] && [ -x "$folder" ] && return
    echo missing
    exit 1
}
find_packer() { # sets packer: what to send WAL through to who can expand with $1
    for packer in lz4 zstd; do
        case ,$1, in *",$packer,"*) ! command -v "$packer" >/dev/null || return 0 ;; esac
    done
    packer=
}
get() {
    answer
    if ! find_wal "$1"; then
        # Where the folder went meanwhile nothing is known of the file.
        if [ -x "$folder" ]; then echo absent; else echo missing; fi
        exit 0
    fi
    packer=
    case $target in *.zst | *.lz4) ;; *) ! is_segment "$1" || find_packer "$3" ;; esac
    case $packer in
    lz4) echo "packed lz4"; give "$1" "$2" | lz4 -q -1 -B4 --no-frame-crc -c ;;
    zstd) echo "packed zstd"; give "$1" "$2" | zstd -q --single-thread -1 --no-check -c ;;
    *) give "$1" "$2" ;;
    esac
}
give() {
    name=$1 left=$2
    while [ "$left" -gt 0 ] && find_wal "$name"; do
        found=$target
        [ -r "$found" ] || refuse "$found cannot be read by $(id -un)"
        describe "$name" || exit 1
        echo "$line"
        cat "$found" || exit 1
        name=$next left=$((left - 1))
    done
    echo end
}
give_tail() { # gives out how far the segment $1 was streamed, unless that is what $2 is the checksum of
    answer
    set +f
    find_tail "$1" || { echo absent; exit 0; }
    bytes=$(($(wc -c <"$target")))
    name=$1 known=$2
    find_packer "$3"
    set -- $(cksum <"$target")
    [ "$1:$2" != "$known" ] || { echo absent; exit 0; }
    echo "tail $bytes ${packer:-none}"
    case $packer in
    lz4) lz4 -q -1 -B4 -c <"$target" ;;
    zstd) zstd -q --single-thread -1 -c <"$target" ;;
    *) cat "$target" ;;
    esac
}
commit() { # what came, and is on the disk, is what was sent, and is durable under its names
    set +f
    other=$parts.other sums=
    for at in "$parts".sums.*; do
        while read -r line; do
            case $expected in *"
$line
"*) ;; *) refuse "${line##* } did not come as it was sent" ;; esac
            sums="$sums${sums:+
}$line"
        done <"$at" || exit 1
    done
    for at in "$parts"/*; do
        case "$sums
" in *" ${at##*/}
"*) ;; *) refuse "${at##*/} was not summed up" ;; esac
    done
    settle || exit 1
    while read -r _ _ stored; do printf '\036pgtandem-wal stored %s\n' "$stored"; done <<END
$sums
END
    rm -rf "$parts" "$parts".sums.*
}
tidy() { # what killed ones have left in incoming
    for at in "$1"/serve.*; do
        kill -0 "${at##*/serve.}" 2>/dev/null || rm -rf "$at"
    done
}
store() { # one process takes in what comes, and another one puts it away meanwhile
    answer
    base=$folder/.incoming/serve.$$
    trap 'rm -rf "$base"' EXIT
    trap 'exit 1' HUP INT TERM
    find_copy
    set +f
    tidy "$folder/.incoming"
    rm -rf "$base"
    set -f
    # Never the archive's own folder: its disk may go at any time.
    [ -d "$folder/.incoming" ] || mkdir "$folder/.incoming" || [ -d "$folder/.incoming" ] || exit 1
    mkdir "$base" || refuse "could not write in $folder"
    take_in | put_away
}
take_in() { # files go to a folder for each batch; what they are is told to the other one
    number=0
    new_batch
    while read -r word stored bytes sum packed program; do
        case $word in
        file)
            is_stored "$stored" && is_size "$bytes" || refuse "refused"
            case $program in
            '') packed=$bytes arrives=$stored ;;
            lz4) arrives=$stored.lz4 ;;
            zstd) arrives=$stored.zst ;;
            *) refuse "refused" ;;
            esac
            is_size "$packed" || refuse "refused"
            copy "$packed" >"$parts/$arrives" || refuse "could not write $stored"
            echo "file $stored $bytes $sum $program"
            came=1 ;;
        commit)
            [ -n "$came" ] || continue
            echo commit
            new_batch ;;
        '') echo ;; # somebody wants to know whether there is still a connection, and somebody who puts away
        *) refuse "refused" ;;
        esac
    done
    echo end
}
new_batch() {
    number=$((number + 1)) came=
    parts=$base/$number
    # What waits to be put away must not fill the disk.
    while [ -d "$base/$((number - 4))" ]; do
        echo
        sleep 0.05 || sleep 1
    done
    mkdir "$parts" || refuse "could not write in $folder"
}
put_away() {
    number=0 settling=
    begin
    while read -r word stored bytes sum program; do
        case $word in
        file)
            [ "$count" -lt 4 ] || write_out_few
            case $program in
            lz4) lz4="$lz4 $stored.lz4" ;;
            zstd) zst="$zst $stored.zst" ;;
            esac
            count=$((count + 1)) few="$few $stored" expected="$expected$sum $bytes $stored
" ;;
        commit)
            [ "$count" = 0 ] || write_out_few
            settled || exit 1
            for each in $writing; do wait "$each" || refuse "could not write in $folder"; done
            commit &
            settling=$!
            begin ;;
        '') settled || exit 1 ;;
        end)
            settled
            return ;;
        esac
    done
    settled
    return 1
}
settled() { # the batch before is put away
    [ -z "$settling" ] || wait "$settling" || return
    settling=
}
begin() {
    number=$((number + 1))
    parts=$base/$number count=0 few= lz4= zst= writing= groups=0 expected="
"
}
expand_few() { # the last that came, as they are to be stored
    (
        cd "$parts" || exit
        [ -z "$lz4" ] || lz4 -dq -m --rm $lz4 || exit
        [ -z "$zst" ] || zstd -dq --rm $zst
    )
}
write_out_few() { # they are on the disk, too, and summed up, while others come and those before get their names
    groups=$((groups + 1))
    (
        expand_few && cd "$parts" || exit
        cksum -- $few >"$parts.sums.$groups" &
        sync $few && wait "$!"
    ) &
    writing="$writing $!"
    count=0 few= lz4= zst=
}
is_label() {
    case $1 in
    *[!0-9TZa-z-]*) return 1 ;;
    ????????T??????Z-full | ????????T??????Z-incremental) return 0 ;;
    esac
    return 1
}
is_tar() { # the data directory or a tablespace, in one of the forms
    case $1 in *.zst) set -- "${1%.zst}" ;; *.lz4) set -- "${1%.lz4}" ;; esac
    case $1 in
    base.tar | pg_wal.tar) return 0 ;;
    *.tar) is_number "${1%.tar}" 10 ;;
    *) return 1 ;;
    esac
}
backup() { # never over anything, and only where pgtandem has begun one
    is_tar "$2" || refuse "refused"
    part=$folder/backups/.$1.part
    [ -d "$part" ] && [ ! -e "$part/backup.json" ] || refuse "there is no backup $1 to be made"
    set -C
    cat >"$part/$2" || refuse "could not write backup $1"
}
fetch() {
    is_tar "$2" || [ "$2" = backup_manifest ] || refuse "refused"
    answer
    set -- "$folder/backups/$1/$2"
    [ -r "$1" ] || [ ! -e "$1" ] || refuse "$1 cannot be read by $(id -un)"
    exec cat "$1"
}
set -- ${SSH_ORIGINAL_COMMAND-}
case "$#.${1-}" in
1.hello)
    answer
    echo "get $rights" ;;
1.programs)
    answer
    for program in lz4 zstd; do ! command -v "$program" >/dev/null || echo "$program"; done ;;
2.get | 3.get | 4.get)
    case ${4-lz4} in lz4 | zstd | lz4,zstd) ;; *) refuse "refused" ;; esac
    is_wal_file "$2" && is_number "${3-1}" 4 || refuse "refused"
    get "$2" "${3-1}" "${4-}" ;;
3.tail | 4.tail)
    case ${4-} in '' | lz4 | zstd | lz4,zstd) ;; *) refuse "refused" ;; esac
    case $3 in - | [0-9]*:[0-9]*) ;; *) refuse "refused" ;; esac
    is_segment "$2" || refuse "refused"
    give_tail "$2" "$3" "${4-}" ;;
1.store)
    [ "$rights" = put ] || refuse "refused"
    store ;;
3.backup)
    [ "$rights" = put ] && is_label "$2" || refuse "refused"
    backup "$2" "$3" ;;
3.fetch)
    [ "$rights" = put ] && is_label "$2" || refuse "refused"
    fetch "$2" "$3" ;;
*) refuse "refused" ;;
esac
"""
)
