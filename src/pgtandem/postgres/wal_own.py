"""Shell of the program that fetches WAL (`wal_fetch`): whether the server's own copy of a segment is to stay.

The server asks restore_command first, also for a segment that it has, and takes what it gets in place of its own. Where
a second primary of the same timeline was faster with the archive, that is other WAL, and what this standby streamed (a
commit may wait for it) would be gone: decision 0051. Ours counts as WAL by what the server itself goes by: the page
headers, each record's length, the place of the one before, and its CRC (xlogrecord.h; the same from 9.5 to 18).
"""

#: Needs `name`, `kind`, `spool`, `run`, is_standby and say.
OWN = r"""
at() { # sets value: the number in the $2 bytes at $1 of the server's own segment
    set -- $(od -An "-tu$2" -j "$1" -N "$2" "pg_wal/$name" 2>/dev/null)
    [ $# = 1 ] && value=$1
}
begin_own() { # sets what is asked below; fails where ours is no WAL of this segment: one of an older name, used again
    own_size=$(($(wc -c <"pg_wal/$name"))) low=${name#????????}
    own_start=$((0x${low%????????} * 4294967296 + 0x${low#????????} * own_size))
    own_timeline=$((0x${name%????????????????}))
    at 0 2 && magic=$value && at 36 4 && page_size=$value && [ "$page_size" -ge 1024 ] && is_page 0
}
is_page() { # whether ours has at $1 a page of this segment, of its timeline or of one that this came from
    [ "$1" -lt "$own_size" ] && at "$1" 2 && [ "$value" = "$magic" ] &&
        at "$(($1 + 8))" 8 && [ "$value" = "$((own_start + $1))" ] &&
        at "$(($1 + 4))" 4 && [ "$value" -gt 0 ] && [ "$value" -le "$own_timeline" ]
}
pass() { # sets end: where $2 bytes end that begin at $1, with the headers of pages between them; 1: there is no such
    # page of ours; 2: they end in the next segment
    end=$1 left=$2
    while room=$((page_size - end % page_size)) && [ "$left" -gt "$room" ]; do
        left=$((left - room)) end=$((end + room))
        [ "$end" -lt "$own_size" ] || return 2
        is_page "$end" && at $((end + 16)) 4 && [ "$value" = "$left" ] || return 1
        end=$((end + 24))
    done
    end=$((end + left))
}
step_on() { # sets place: where a record may begin, at or behind $1; fails where none can
    place=$((($1 + 7) / 8 * 8))
    [ $((place % page_size)) != 0 ] || { is_page "$place" && place=$((place + 24)); }
}
first_on() { # sets place: where the first record begins that begins on the page at $1, or, for the first page, later
    place=$(($1 + 24))
    [ "$1" != 0 ] || place=40
    is_page "$1" && at $(($1 + 2)) 2 || return
    [ $((value & 1)) = 1 ] || return 0 # none goes on here from the page before
    at $(($1 + 16)) 4 && set -- "$1" "$value" || return
    if [ "$1" = 0 ]; then pass 40 "$2" && step_on "$end"; return; fi
    place=$((place + ($2 + 7) / 8 * 8))
    [ "$place" -lt $(($1 + page_size)) ]
}
has_record() { # whether ours has at its byte $1, or right behind it, a whole record as the server would read it.
    # 0: yes; 1: no; 2: that is not to be told, as it begins before this segment, ends behind it, or is too large
    page=$(($1 / page_size * page_size))
    [ "$page" = 0 ] || page=$((page - page_size))
    until first_on "$page"; do
        [ "$page" != 0 ] || return 2
        page=$((page - page_size))
    done
    [ "$place" -le "$1" ] || return 2
    previous=
    while at "$place" 4 && [ "$value" -ge 24 ]; do
        total=$value
        pass "$place" "$total" || return
        [ "$end" -le "$1" ] || { is_sound; return; }
        previous=$place
        step_on "$end" || return 1
        [ "$place" -lt "$own_size" ] || return 1
    done
    return 1
}
is_sound() { # whether the record of total bytes at place, after the one at previous, is whole
    [ "$total" -le 1048576 ] || return 2
    set -- $(record | od -An -tu8 -j 8 -N 8) $(record | od -An -tu4 -j 20 -N 4)
    [ $# = 2 ] || return 2
    [ -z "$previous" ] || [ "$1" = $((own_start + previous)) ] || return 1
    sum_up $(record | od -An -v -tu1 -j 24) $(record | od -An -v -tu1 -N 20)
    [ "$sum" = "$2" ]
}
record() { # writes it out
    rest=$total from=$place
    while [ "$rest" -gt 0 ]; do
        room=$((page_size - from % page_size))
        [ "$room" -le "$rest" ] || room=$rest
        tail -c "+$((from + 1))" "pg_wal/$name" | head -c "$room"
        rest=$((rest - room)) from=$((from + room + 24))
    done
}
sum_up() { # sets sum: the CRC-32C of these bytes
    number=0
    while [ "$number" -lt 256 ]; do
        sum=$number
        for _ in 1 2 3 4 5 6 7 8; do sum=$((sum & 1 ? (sum >> 1) ^ 0x82F63B78 : sum >> 1)); done
        eval "sum_$number=$sum"
        number=$((number + 1))
    done
    sum=$((0xFFFFFFFF))
    for number; do sum=$(((sum >> 8) ^ sum_$(((sum ^ number) & 255)))); done
    sum=$((sum ^ 0xFFFFFFFF))
}
is_here() { # whether the data of this server is on the segment's timeline, by its control file
    set -- $(od -An -tu4 -j 8 -N 4 global/pg_control)
    [ $# = 1 ] || return
    # Up to 10 the place of the checkpoint before stands there too.
    if [ "$1" -lt 1100 ]; then set -- 56; else set -- 48; fi
    set -- $(od -An -tu4 -j "$1" -N 4 global/pg_control)
    [ "$#.${1-}" = "1.$own_timeline" ]
}
stays() { # whether ours stays, and the file $1 is not to take its place
    [ -f "pg_wal/$name" ] && [ "$kind" = segment ] && [ "$run" != none ] && is_standby || return
    differs=$(cmp "pg_wal/$name" "$1" 2>/dev/null) && return 1
    set -- ${differs##*differ: }
    differs=${2-} differs=${differs%,}
    case $differs in '' | *[!0-9]*) return 1 ;; esac
    differs=$((differs - 1))
    begin_own || return
    has_record "$differs"
    case $? in
    0)
        if is_here; then
            tell "ours stays, as it holds whole records that the other one lacks. Two primaries have written on this \
timeline, and what follows in the archive may be the other one's, too"
            return 0
        fi ;;
    1) is_page $(((differs / page_size + 1) * page_size)) || return 1 ;; # the usual case: ours ends there
    esac
    put_aside
}
put_aside() { # ours is not known to be right, and not known to be wrong; fails where it has a second name now
    aside=pg_wal/pgtandem_aside
    for other in "$aside/$name".*; do [ ! "$other" -ef "pg_wal/$name" ] || return 1; done
    set -- "$aside"/*
    if [ $# -lt 16 ] && mkdir -p "$aside" && ln "pg_wal/$name" "$aside/$name.$(date +%s)"; then
        tell "that one takes its place; ours is kept in $aside"
        return 1
    fi
    tell "ours stays, since it could not be kept in $aside as well, where up to 16 files are kept"
}
tell() { # in the server's log, once for each segment
    told=
    { read -r told; } 2>/dev/null <"$spool/told"
    [ "$told" = "$name" ] || say "the archive's $name is another one than pg_wal/$name from byte $differs on: $1"
    echo "$name" >"$spool/told"
}
"""
