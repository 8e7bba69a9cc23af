"""Shell that the scripts which move WAL have in common: POSIX sh and coreutils, nothing else to install.

A script is put together from these texts, so that each of them stays one file that a person can read on the host. What
holds for all of them: names of WAL files are words without a space, and what is stored keeps its name for ever.
"""

IS_SEGMENT = r"""
is_segment() {
    case $1 in
    *[!0-9A-F]*) return 1 ;;
    ????????????????????????) return 0 ;;
    esac
    return 1
}
"""

IS_WAL_FILE = (
    IS_SEGMENT
    + r"""is_wal_file() {
    is_segment "$1" && return
    case $1 in
    *.partial) is_segment "${1%.partial}" ;;
    *.history)
        set -- "${1%.history}"
        case $1 in *[!0-9A-F]*) return 1 ;; ????????) return 0 ;; esac
        return 1 ;;
    *.backup)
        set -- "${1%.backup}"
        case $1 in ????????????????????????.????????) ;; *) return 1 ;; esac
        is_segment "${1%.????????}" || return 1
        case ${1#????????????????????????.} in *[!0-9A-F]*) return 1 ;; esac ;;
    *) return 1 ;;
    esac
}
"""
)

#: A WAL file as it is stored, back to what it is.
EXPAND = r"""
expand() { # writes out what is in a stored file; fails where that is damaged, or the program is not there
    case $1 in
    *.zst) zstd -dcq <"$1" ;;
    *.lz4) lz4 -dcq <"$1" ;;
    *) cat "$1" ;;
    esac
}
"""

# Called in the data directory. As ssh does it: HOME may be missing or another one in a server's environment.
SSH_FOLDER = r"""
find_folder() { # sets home: where ssh works
    user=$(id -un)
    case $user in '' | *[!A-Za-z0-9_.-]*) home=${HOME-} ;; *) eval "home=~$user" ;; esac
    home=$home/.ssh/pgtandem/$place of=
    { read -r of; } 2>/dev/null <pgtandem/system_identifier
    # Without it is where an earlier pgtandem put the key.
    [ ! -d "$home.$of" ] || home=$home.$of
}
"""

#: What comes over a connection. Needs nothing.
COPY = r"""
exact=
find_copy() { # whether dd counts bytes: then one process is enough, and can say why it failed, and nothing else
    dd bs=1 count=0 iflag=fullblock,count_bytes status=none </dev/null >/dev/null 2>&1 && exact=1
}
copy() { # $1 bytes from stdin, and not one more, for that would be of what follows
    if [ -n "$exact" ]; then
        dd bs=262144 count="$1" iflag=fullblock,count_bytes status=none
        return
    fi
    [ "$1" -lt 262144 ] || dd bs=262144 count=$(($1 / 262144)) iflag=fullblock 2>/dev/null || return
    [ $(($1 % 262144)) = 0 ] || head -c $(($1 % 262144))
}
"""

THERE = r"""
there() { # sets target: what the archive has of the WAL file $1, in whichever form
    for target in "$folder/$1" "$folder/$1.zst" "$folder/$1.lz4"; do [ ! -e "$target" ] || return 0; done
    return 1
}
group_of() { # sets group: the file of checksums that the WAL file $1 is in
    group=${1%%.*}
    case $group in ????????????????????????) group=${group%????????} ;; esac
}
"""

#: What the receiver of the archive's stream has written (`stream_scripts`), below `folder`. Needs IS_SEGMENT.
STREAMED = r"""
find_wal() { # sets target: what there is of the WAL file $1, archived, or else streamed and whole
    there "$1" && return
    target=$folder/streamed/$1
    [ -f "$target" ]
}
find_tail() { # sets target: the segment $1 as far as it was streamed. Of a timeline that was left nobody knows how far
    # its last segment counts: only the newest one has such an end.
    target=$folder/streamed/$1.partial
    is_segment "$1" && [ -f "$target" ] || return
    for at in "$folder"/*.history "$folder"/streamed/*.history; do
        at=${at##*/} at=${at%.history}
        [ "$at" = "*" ] || [ $((0x$at)) -le $((0x${1%????????????????})) ] || return
    done
}
"""

#: Needs `folder`.
FIND = (
    THERE
    + STREAMED
    + r"""
following() { # sets next: the segment after $1, which is stored as $2 in $3 bytes; "-" after another file
    next=-
    is_segment "$1" || return 0
    rest=${1#????????} per=0
    low=$((0x${rest#????????} + 1)) high=$((0x${rest%????????}))
    case $2 in
    *.zst | *.lz4) # how large a segment is does not show: what is there tells
        next=$(printf '%.8s%08X%08X' "$1" "$high" "$low")
        # A power of two may be as many as fit into the middle part of a name.
        [ "$low" -ge 4 ] && [ $((low & (low - 1))) = 0 ] && ! find_wal "$next" || return 0
        set -- "$(printf '%.8s%08X%08X' "$1" $((high + 1)) 0)" "$next"
        find_wal "$1" && next=$1 || next=$2
        return 0 ;;
    esac
    [ "$3" -ge 1048576 ] && [ "$3" -le 1073741824 ] || return 0
    per=$((4294967296 / $3)) high=$((high * (4294967296 / $3) + low))
    next=$(printf '%.8s%08X%08X' "$1" $((high / per)) $((high % per)))
}
describe() { # sets line: what is stored as target of the WAL file $1, its bytes, the next one, its form, its checksums.
    # Where $2 is "recorded" the bytes are what the one line says: who reads all of it sees whether it is so.
    at=$target
    case $at in *.zst) form=zstd ;; *.lz4) form=lz4 ;; *) form=none ;; esac
    group_of "$1"
    known= size=
    while read -r sum bytes stored; do
        [ -z "$stored" ] || known="$known,$sum:$bytes" size=$bytes
    done <<END
$(grep " ${at##*/}\$" "$folder/checksums/$group" 2>/dev/null)
END
    case ${2-}$known in
    recorded,*,*) size= ;;
    recorded,*) ;;
    *) size= ;;
    esac
    [ -n "$size" ] || size=$(($(wc -c <"$at"))) || return
    following "$1" "$at" "$size"
    line="$1 $size $next $form ${known:--}"
}
"""
)

#: Needs `folder`, the archive's folder of this cluster, and in it `parts`, a folder, and `other`, a file, that are only
#: ours.
STORE = (
    EXPAND
    + r"""
same() { # whether two files, each in whichever form, have the same content
    cmp -s "$1" "$2" && return
    case $1$2 in *.zst* | *.lz4*) ;; *) return 1 ;; esac
    [ -d "${other%/*}" ] || mkdir "${other%/*}" || return
    # What cannot be expanded to its end could not be restored, whatever comes before that.
    expand "$1" >"$other" && { expand "$2" || echo "not to its end"; } | cmp -s - "$other"
    set -- $?
    rm -f "$other"
    return "$1"
}
again() { # the file $1 is to be the WAL file $2, and that is there already: the same content again is fine
    if ! same "$1" "$target"; then
        say "$target exists with other content than $1; nothing was overwritten"
        return 1
    fi
    sync "$target" && sync_folder "$folder"
}
sync_folder() { sync "$1" 2>/dev/null || sync; }
harden() { # all of parts is on the disk afterwards; sets sums: a line of cksum for each file in parts
    (cd "$parts" && exec sync *) &
    syncing=$!
    sums=$(cd "$parts" && exec cksum -- *)
    set -- $?
    wait "$syncing" && [ "$1" = 0 ] || { say "could not sync $parts"; return 1; }
}
record() { # a line of cksum for each file in parts; sets touched: the files that have the lines
    [ -d "$folder/checksums" ] || mkdir "$folder/checksums" 2>/dev/null || [ -d "$folder/checksums" ] || return
    touched= last=
    while read -r sum bytes stored; do
        [ -e "$parts/$stored" ] || continue
        group_of "$stored"
        at=$folder/checksums/$group
        if [ "$at" != "$last" ]; then
            # After a crash the last line may be torn: what follows must not become a part of it.
            [ ! -s "$at" ] || [ -z "$(tail -c 1 "$at")" ] || echo >>"$at" || return
            touched="$touched $group" last=$at
        fi
        printf '%s %s %s\n' "$sum" "$bytes" "$stored" >>"$at" || return
    done <<END
$sums
END
}
plain_of() { # sets plain: the WAL file that is stored as $1
    plain=${1##*/}
    plain=${plain%.zst} plain=${plain%.lz4}
}
settle() { # what sums says is in parts, hardened, gets its names in the archive, never over something else
    left=
    while read -r _ _ stored; do
        part=$parts/$stored
        if [ ! -f "$part" ]; then
            # The disk went away, or somebody tidied up: that is not what is there already.
            say "$part is gone before it got its name"
            return 1
        fi
        plain_of "$stored"
        if there "$plain"; then again "$part" && rm -f "$part" || return; else left="$left $stored"; fi
    done <<END
$sums
END
    if [ -z "$left" ]; then
        unstream
        wake
        return 0
    fi
    record || { say "could not write the checksums in $folder/checksums"; return 1; }
    (cd "$folder/checksums" && exec sync $touched .) || { say "could not sync $folder"; return 1; }
    (cd "$parts" && exec ln $left "$folder/") 2>/dev/null
    for stored in $left; do
        part=$parts/$stored
        if [ ! "$part" -ef "$folder/$stored" ]; then
            # Somebody else was faster, or links are not to be had here.
            if [ -e "$folder/$stored" ]; then
                target=$folder/$stored
                again "$part" || return
            elif ! mv -n "$part" "$folder/$stored" || [ -e "$part" ]; then
                say "could not give $stored its name in $folder"
                return 1
            fi
        fi
        plain_of "$stored"
        for target in "$folder/$plain" "$folder/$plain.zst" "$folder/$plain.lz4"; do
            [ "$target" = "$folder/$stored" ] || [ ! -e "$target" ] || again "$part" && continue
            # Two were at it at once, each in its own form. Nobody was told that this one is there.
            [ ! "$part" -ef "$folder/$stored" ] || rm -f "$folder/$stored"
            return 1
        done
    done
    sync_folder "$folder" && unstream && wake
}
wake() { # the receiver of the archive's stream, which ends with its host: it is to run, and does not
    [ -e "$folder/receiver/wanted" ] || return 0
    { read -r pid; } 2>/dev/null <"$folder/receiver/pid" && [ "/proc/$pid/cwd" -ef "$folder/receiver" ] && return
    if command -v setsid >/dev/null; then apart=setsid; else apart=nohup; fi
    $apart sh "$folder/receiver/run" </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    return 0
}
unstream() { # whole segments that were also streamed go from there, once they are seen to be the same. The newest file
    # stays: the receiver goes on behind it.
    before=
    for streamed in "$folder"/streamed/*; do
        plain=${before##*/} before=$streamed
        is_segment "$plain" && there "$plain" || continue
        if same "$folder/streamed/$plain" "$target"; then
            rm -f "$folder/streamed/$plain"
        else
            say "$folder/streamed/$plain has other content than $target; both were left as they are"
        fi
    done
    return 0
}
"""
)
