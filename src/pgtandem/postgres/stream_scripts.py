"""The receiver of the archive's stream: what runs on the archive's host, and how it is looked at and stopped.

In the cluster's folder of the archive, `receiver/` holds what belongs to the process, and `streamed/` what
pg_receivewal writes: whole segments under their names, the current one as NAME.partial, filled up with zeros, and
history files. docs/decisions/0036.
"""

from collections.abc import Sequence

from pgtandem.model.names import STREAM_NAME
from pgtandem.postgres.wal_shell import EXPAND

RECEIVER = "receiver"
STREAMED = "streamed"

RUN, SOURCE, STARTED, PASSFILE, ROOT, WANTED = "run", "source", "started", "passfile", "ca.crt", "wanted"

#: The argument of `run` with which it waits until no other one runs: for who would start it again and again.
STAY = "stay"

_ALIVE = r"""
alive() { # whether the process that the file $1 names lives, and is what $2 says, of this folder
    pid=
    { read -r pid; } 2>/dev/null <"$1" && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return
    [ ! -r "/proc/$pid/cmdline" ] || {
        grep -q "$2" "/proc/$pid/cmdline" 2>/dev/null && [ "/proc/$pid/cwd" -ef . ]
    }
}
"""

#: Starts pg_receivewal again when it ends, which it does whenever a connection ends: so it looks for the primary anew,
#: ten times a second at first (after a role change commits may wait for it), and then every second. It ends by itself
#: where its slot is gone for minutes: nobody wants it, and nobody could end it. Its lock is kept by pg_receivewal too,
#: so that there are never two, whoever starts it.
RUN_TEXT = rf"""#!/bin/sh
# receiver/run: receives the cluster's WAL into ../streamed as it is written, as long as the file {WANTED} is there.
# Made by pgtandem. May be started at any time: there is never more than one. With "{STAY}" it waits for another's end.
umask 077
cd "${{0%/*}}" || exit 1
{_ALIVE}
[ -e {WANTED} ] || exit 0
if alive pid receiver/run && [ "$pid" != $$ ]; then
    [ "${{1-}}" = {STAY} ] || exit 0
else
    ! alive child receivewal || kill -INT "$pid" # what is left of one that was killed
fi
if command -v flock >/dev/null; then
    exec 9>lock
    if [ "${{1-}}" = {STAY} ]; then flock 9; else flock -w 10 9 || exit 0; fi
fi
echo $$ >pid
cp source started
{{ IFS= read -r program && IFS= read -r conninfo; }} <started || exit 1
child= missed=0 tries=0
end() {{
    [ -z "$child" ] || {{ kill -INT "$child"; wait "$child"; }} 2>/dev/null
    exit 0
}}
trap end TERM INT HUP
tidy() {{ # a segment that could not be filled up with zeros, on a full disk: it has no WAL yet, and no run takes it up
    for part in ../{STREAMED}/*.partial; do
        [ ! -s "$part" ] || [ -n "$(tr -d '\000' <"$part" | head -c 1 | od -An -tx1)" ] || rm -f "$part"
    done
}}
mine() {{ [ -e {WANTED} ] && {{ read -r pid; }} 2>/dev/null <pid && [ "$pid" = $$ ]; }}
while mine; do
    began=$(date +%s)
    tidy
    "$program" -D ../{STREAMED} -S {STREAM_NAME} --synchronous --no-loop --no-password -d "$conninfo" \
        </dev/null 2>said &
    child=$!
    echo "$child" >child
    wait "$child"
    child=
    cat said >>log
    tail -n 100 log >log.new && mv log.new log
    if grep -q 'slot "{STREAM_NAME}" does not exist' said; then missed=$((missed + 1)); else missed=0; fi
    [ "$missed" -lt 300 ] || {{ rm -f {WANTED}; exit 1; }}
    [ "$(date +%s)" -le $((began + 1)) ] || tries=0
    tries=$((tries + 1))
    if [ "$tries" -le 50 ]; then sleep 0.1 2>/dev/null || sleep 1; else sleep 1; fi
done
"""

_THERE = f"""{_ALIVE}
cd "$1/{RECEIVER}" || exit 1
"""

#: FOLDER: from now on it may be started by whoever is to do that.
WANT = (
    _THERE
    + rf"""
alive pid receiver/run || rm -f said
[ -e {WANTED} ] || : >{WANTED} || exit 1
sync {WANTED} . 2>/dev/null || sync
"""
)

#: FOLDER SECONDS: starts `run` apart from whoever calls, unless it runs within so many seconds.
START = (
    _THERE
    + r"""
polls=0
until alive pid receiver/run; do
    [ "$polls" -lt "$(($2 * 10))" ] || break
    polls=$((polls + 1))
    sleep 0.1 || sleep 1
done
alive pid receiver/run && exit 0
if command -v setsid >/dev/null; then apart=setsid; else apart=nohup; fi
$apart sh "$PWD/run" </dev/null >/dev/null 2>&1 &
"""
)

#: FOLDER: ends pg_receivewal, which is started again at once and looks for the primary anew.
LOOK_ANEW = (
    _THERE
    + r"""
! alive child receivewal || kill -INT "$pid"
"""
)

#: FOLDER: ends it, and waits for that. Nobody starts it again until somebody wants it: also not after a power failure.
STOP = (
    _THERE
    + rf"""
rm -f {WANTED} || exit 1
sync . 2>/dev/null || sync
"""
    + r"""
polls=0
while alive pid receiver/run || alive child receivewal; do
    ! alive pid receiver/run || kill -TERM "$pid"
    alive pid receiver/run || ! alive child receivewal || kill -INT "$pid"
    if [ "$polls" -ge 100 ]; then
        for file in pid child; do read -r pid <"$file" && kill -KILL "$pid"; done 2>/dev/null
    fi
    [ "$polls" -lt 200 ] || { echo "process $pid does not end" >&2; exit 1; }
    polls=$((polls + 1))
    sleep 0.1 || sleep 1
done
rm -f pid child
"""
)

#: FOLDER: prints whether it runs, the seconds since WAL came last, names and sizes of what came, how far the last
#: segment goes ("tail NAME BYTES", where its pages end that begin as those of this segment do), and what was said last.
LOOK = (
    _THERE
    + r"""
if alive pid receiver/run; then echo running; fi
cd ../streamed 2>/dev/null || exit 0
last= now=$(date +%s)
for name in [0-9A-F]*; do
    [ -f "$name" ] || continue
    echo "file $(($(wc -c <"$name"))) $name"
    case $name in *.history) ;; *) last=$name ;; esac
done
[ -n "$last" ] || exit 0
for name in *; do
    [ ! "$name" -nt "$last" ] || [ ! -f "$name" ] || [ "${name%.history}" != "$name" ] || last=$name
done
echo "age $((now - $(date -r "$last" +%s)))"
for name in *.partial; do
    [ -f "$name" ] || continue
    size=$(($(wc -c <"$name"))) low=${name#????????} low=${low%.partial}
    start=$((0x${low%????????} * 4294967296 + 0x${low#????????} * size))
    from=0 to=$((size / 8192)) # the first page that is not written lies in between
    while [ "$from" -lt "$to" ]; do
        page=$(((from + to) / 2))
        if [ "$(($(od -An -tu8 -j $((page * 8192 + 8)) -N 8 "$name")))" = $((start + page * 8192)) ]; then
            from=$((page + 1))
        else
            to=$page
        fi
    done
    bytes=0
    [ "$from" = 0 ] || bytes=$(dd if="$name" bs=8192 skip=$((from - 1)) count=1 2>/dev/null | od -An -v -tx1 | awk '
        { for (i = 1; i <= NF; i++) { at++; if ($i != "00") last = at } } END { print last + 0 }')
    [ "$from" = 0 ] || bytes=$(((from - 1) * 8192 + bytes))
    echo "tail $name $bytes"
done
grep -v '^pg_receivewal: not renaming' ../receiver/log ../receiver/said 2>/dev/null | tail -n 3 | sed 's/^[^:]*:/said /'
"""
)

#: FILE BYTES: prints the checksum of the first so many bytes of a file; fails where it has less.
BEGINNING = r"""
[ -f "$1" ] && [ "$(($(wc -c <"$1")))" -ge "$2" ] && head -c "$2" "$1" | cksum
"""


#: FOLDER: the receiver begins anew. Whole segments that only it has get their names in the archive; a part of one is
#: kept where the archive does not have the whole.
BEGIN_ANEW = """
cd "$1/streamed" && mkdir -p ../receiver/beyond || exit 1
archived() { [ -e "../$1" ] || [ -e "../$1.zst" ] || [ -e "../$1.lz4" ]; }
for name in [0-9A-F]*; do
    case $name in
    '[0-9A-F]*' | *.history) ;;
    *.partial)
        if archived "${name%.partial}"; then rm -f "$name"; else mv -f "$name" ../receiver/beyond/; fi || exit 1 ;;
    *) archived "$name" || ln "$name" .. && rm -f "$name" || exit 1 ;;
    esac
done
sync ..
"""

#: FOLDER NAME: an empty folder gets a segment that is archived, so that pg_receivewal begins with the next one. Prints
#: "seeded" where that was done.
SEED = (
    EXPAND
    + """
cd "$1/streamed" || exit 1
for name in [0-9A-F]*; do
    case $name in *.history) ;; *) [ ! -f "$name" ] || exit 0 ;; esac
done
for form in '' .zst .lz4; do
    [ -f "../$2$form" ] || continue
    expand "../$2$form" >../receiver/seed && sync ../receiver/seed && mv ../receiver/seed "$2" && echo seeded
    exit
done
"""
)

#: FOLDER: what was only streamed gets its name in the archive; never over something else. What is another content than
#: the archive has under that name, and what lies in `beyond`, may be all that is left of what a lost primary wrote.
HAND_OVER = (
    EXPAND
    + """
cd "$1/streamed" || exit 1
keep() {
    set -- "$1" "../set-aside/streamed/${1##*/}"
    mkdir -p ../set-aside/streamed || return
    [ -e "$2" ] || { ln "$1" "$2"; return; }
    cmp -s "$1" "$2" || ln "$1" "$2.$(date +%s)"
}
for name in [0-9A-F]*; do
    [ -f "$name" ] || continue
    stored=
    for form in '' .zst .lz4; do [ ! -e "../$name$form" ] || stored=../$name$form; done
    if [ -z "$stored" ]; then
        ln "$name" .. || exit 1
    elif ! { expand "$stored" || echo "not to its end"; } | cmp -s - "$name"; then
        keep "$name" || exit 1
    fi
done
for file in ../receiver/beyond/[0-9A-F]*; do [ ! -f "$file" ] || keep "$file" || exit 1; done
sync ..
"""
)


def render_source(program: str, conninfo: str) -> str:
    return f"{program}\n{conninfo}\n"


def parse_look(text: str) -> "Look":
    """What LOOK printed."""
    running, age, files, tails, said = False, None, [], {}, []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "running":
            running = True
        elif word == "age" and rest.lstrip("-").isdigit():
            age = max(int(rest), 0)
        elif word == "file":
            size, _, name = rest.partition(" ")
            files.append((name, int(size)))
        elif word == "tail":
            name, _, size = rest.partition(" ")
            tails[name] = int(size)
        elif word == "said":
            said.append(rest.strip())
    return Look(running, age, tuple(files), tails, said)


class Look:
    """What stands on the archive's host."""

    __slots__ = ("age", "files", "running", "said", "tails")

    def __init__(
        self, running: bool, age: int | None, files: Sequence[tuple[str, int]], tails: dict[str, int], said: list[str]
    ) -> None:
        self.running, self.age, self.files, self.tails, self.said = running, age, files, tails, said
