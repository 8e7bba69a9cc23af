"""Looking through the WAL of an archive for where a recovery can stop: named restore points, and ends of transactions.

The program gets segments by a node's own restore command, some at a time, and has pg_waldump read them, as one run of
WAL: of two parts that follow each other the first one's last segment is read again with the second, so that a record
on the border is in one of them. It needs no server, and no base backup.
"""

import posixpath
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pgtandem.model.lsn import Lsn, Timeline
from pgtandem.model.restore import Point
from pgtandem.postgres.segments import segment_name

#: So much WAL lies on the disk at a time, and as much again that is fetched ahead.
PART_BYTES = 128 * 1024 * 1024
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

#: FOLDER PG_WALDUMP SEGMENTS-AT-A-TIME SEGMENT-BYTES XID [NAME PART PART]: the folder has the scripts of a node. stdin:
#: for each segment a line with its name, the name it is read under (that of one timeline) and where it begins and ends.
#: stdout: lines "point LSN MICROSECONDS NAME" and what pg_waldump shows of the transaction XID, if one is asked for; at
#: last "read NUMBER" of segments, and why no more. stderr: the number of segments so far, in lines. Where PG_WALDUMP is
#: "", there is a line "maybe" for each segment that may have the name in it: its bytes, or one part of them where the
#: other one can be on the page behind or before, with the header of 24 or 40 bytes between them.
#:
#: The time of a restore point is in its record only: behind the header of 24 bytes and that of its data, of 2, where no
#: page begins within it.
_SEARCH = r"""
cd "$1" || exit 1
dump=$2 most=$3 size=$4 xid=$5 wanted=${6-} begins=${7-} ends=${8-}
mkdir -p pg_wal read || exit 1
: >recovery.signal
printf '%s\n' "$$" "$PWD" "$(date +%s)" >postmaster.pid
told() { # the lines of pg_waldump that count; for a restore point what is to be known of it
    if [ -n "$xid" ]; then
        grep -E "tx: *$xid,.* desc: (COMMIT|ABORT)|(COMMIT|ABORT)_PREPARED $xid:"
        return
    fi
    grep -F ' desc: RESTORE_POINT ' | while IFS= read -r line; do
        lsn=${line#*lsn: } point=${line#* desc: RESTORE_POINT }
        lsn=${lsn%%,*} micros=
        at=$((0x${lsn#*/} % size))
        file=$(printf '%s%08X%08X' "$line_of_time" "$((0x${lsn%/*}))" "$((0x${lsn#*/} / size))")
        [ $((at % 8192 + 34)) -gt 8192 ] || micros=$(od -An -t d8 -j $((at + 26)) -N 8 "read/$file" | tr -d ' ')
        printf 'point %s %s %s\n' "$lsn" "${micros:--}" "$point"
    done
}
places() { LC_ALL=C grep -a -o -b -F -e "$1" "$2"; }
may_have() { # whether the name may be in the file $1
    LC_ALL=C grep -q -F -e "$wanted" "$1" && return
    places "$begins" "$1" | awk -F: -v n=${#wanted} -v h=${#begins} \
        '{ p = $1 % 8192; if (p + h <= 8192 && p + n > 8192) found = 1 } END { exit !found }' && return
    places "$ends" "$1" | awk -F: -v h=${#begins} \
        '{ p = $1 % 8192; if (p >= 24 && p < 40 + h) found = 1 } END { exit !found }'
}
look() {
    if [ -z "$dump" ]; then
        for file in $kept; do ! may_have "$file" || echo maybe; done
        return
    fi
    if [ -n "$xid" ]; then kind=Transaction; else kind=XLOG; fi
    { "$dump" -p read -t "$((0x$line_of_time))" -s "$from" -e "$to" -r "$kind" 2>error; echo $? >code; } | told
    read -r code <code
    [ "$code" = 0 ] || trouble=$(tail -n 1 error)
}
if [ -z "$dump" ]; then
    LC_ALL=C
    printf abc >probe
    [ "$(places bc probe)" = 1:bc ] || { echo "read 0 grep cannot tell where"; exit; }
fi
first= number=0 count=0 kept= trouble=
while read -r name as start end; do
    restore "$name" "read/$as" 2>error || { trouble="$name: $(tail -n 1 error)"; break; }
    line_of_time=${as%????????????????}
    [ -n "$kept" ] || from=$start
    kept="$kept read/$as" last=read/$as last_start=$start to=$end count=$((count + 1)) number=$((number + 1))
    if [ "$count" -ge "$most" ]; then
        look
        echo "$number" >&2
        [ -z "$trouble" ] || break
        for file in $kept; do [ "$file" = "$last" ] || rm -f "$file"; done
        kept=" $last" from=$last_start count=1
    fi
done
[ -n "$trouble" ] || [ "$count" -lt 1 ] || look
rm -f postmaster.pid
echo "read $number $trouble"
"""
_ENDED = re.compile(r"^(COMMIT|ABORT).*? (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (\S+)")


def search_script(restore_command: str) -> str:
    """The program, which fetches WAL by this restore command (manual, 20.5.5)."""
    words = {"%f": "$1", "%p": "$2", "%%": "%"}
    command = "".join(words.get(part, part) for part in re.split("(%[%fp])", restore_command))
    return f"restore() {{ {command}\n}}\n{_SEARCH}"


def search_argv(folder: str, programs: str, restore_command: str, segment_bytes: int, xid: str) -> list[str]:
    """How the program is run on the host, with pg_waldump of these programs."""
    most = max(PART_BYTES // segment_bytes, 2)
    dump = posixpath.join(programs, "pg_waldump")
    return ["sh", "-c", search_script(restore_command), "sh", folder, dump, str(most), str(segment_bytes), xid]


def name_argv(folder: str, restore_command: str, segment_bytes: int, name: str) -> list[str]:
    """How the program is run where there is no pg_waldump: it looks for the bytes of a name that `can_be_told`. A page
    can begin in the middle of a record, and so of a name, but of two parts one is in one piece."""
    most, at = max(PART_BYTES // segment_bytes, 2), _parted_at(name)
    words = [name, name[:at], name[at:]]
    return ["sh", "-c", search_script(restore_command), "sh", folder, "", str(most), str(segment_bytes), "", *words]


def can_be_told(name: str) -> bool:
    """Whether the bytes of a name tell that it is not there."""
    return name.isascii() and _parted_at(name) is not None


def _parted_at(name: str) -> int | None:
    """Where it has two parts that cannot overlap with themselves: else not every place of one is seen."""
    inside = sorted(range(2, len(name) - 1), key=lambda at: abs(2 * at - len(name)))
    return next((at for at in inside if not (_overlaps(name[:at]) or _overlaps(name[at:]))), None)


def _overlaps(part: str) -> bool:
    return any(part[:size] == part[-size:] for size in range(1, len(part)))


def may_be_there(shown: str) -> bool:
    """What that program found: False where no segment that it read has the name."""
    return "maybe" in shown.splitlines()


def search_input(names: Sequence[str], timeline: Timeline, first: int, segment_bytes: int) -> str:
    """Its stdin, for segments of these names in order, the first of which has this number."""
    lines = []
    for number, name in enumerate(names, first):
        as_name, start, end = segment_name(timeline, number, segment_bytes), number * segment_bytes, number + 1
        lines.append(f"{name} {as_name} {Lsn(start)} {Lsn(end * segment_bytes)}\n")
    return "".join(lines)


def parse_search(shown: str) -> tuple[tuple[Point, ...], int, str]:
    """What was found, in order and each once; how many segments were read; and why no more, "" at the end of them all.
    Raises ValueError where the program did not come to its end."""
    found: dict[Lsn, Point] = {}
    for line in shown.splitlines():
        word, _, rest = line.partition(" ")
        if word == "read":
            number, _, why = rest.partition(" ")
            return tuple(found[lsn] for lsn in sorted(found)), int(number), why
        if word == "point":
            at, micros, name = rest.split(" ", 2)
            time = None if micros == "-" else (_EPOCH + timedelta(microseconds=int(micros))).timestamp()
            found[Lsn.parse(at)] = Point(name, Lsn.parse(at), time)
        elif " lsn: " in line:
            at = line.partition(" lsn: ")[2].partition(",")[0]
            ended = _ENDED.match(line.partition(" desc: ")[2])
            time = None
            if ended and ended[3] in ("UTC", "GMT"):
                time = datetime.fromisoformat(f"{ended[2]}+00:00").timestamp()
            found[Lsn.parse(at)] = Point(ended[1] if ended else "", Lsn.parse(at), time)
    raise ValueError("it was cut off")
