"""The receiver of the archive's stream: what runs on the archive's host, and how it is looked at and stopped.

In the cluster's folder of the archive, `receiver/` holds what belongs to the process, and `streamed/` what
pg_receivewal writes: whole segments under their names, the current one as NAME.partial, filled up with zeros, and
history files. docs/decisions/0036.
"""

from collections.abc import Sequence

from pgtandem.model.names import STREAM_NAME

RECEIVER = "receiver"
STREAMED = "streamed"

RUN, SOURCE, STARTED, PASSFILE, ROOT = "run", "source", "started", "passfile", "ca.crt"

#: Starts pg_receivewal again when it ends, which it does whenever a connection ends: so it looks for the primary anew,
#: every second. It ends by itself where its slot is gone for minutes: nobody wants it, and nobody could end it.
RUN_TEXT = rf"""#!/bin/sh
# receiver/run: receives the cluster's WAL into ../streamed as it is written. Made and started by pgtandem.
umask 077
cd "${{0%/*}}" || exit 1
echo $$ >pid
cp source started
{{ IFS= read -r program && IFS= read -r conninfo; }} <started || exit 1
child= missed=0
end() {{
    [ -z "$child" ] || {{ kill -INT "$child"; wait "$child"; }} 2>/dev/null
    exit 0
}}
trap end TERM INT HUP
mine() {{ {{ read -r pid; }} 2>/dev/null <pid && [ "$pid" = $$ ]; }}
while mine; do
    "$program" -D ../{STREAMED} -S {STREAM_NAME} --synchronous --no-loop --no-password -d "$conninfo" \
        </dev/null 2>said &
    child=$!
    echo "$child" >child
    wait "$child"
    child=
    cat said >>log
    tail -n 100 log >log.new && mv log.new log
    if grep -q 'slot "{STREAM_NAME}" does not exist' said; then missed=$((missed + 1)); else missed=0; fi
    [ "$missed" -lt 300 ] || exit 1
    sleep 1
done
"""

_ALIVE = r"""
alive() { # whether the process that the file $1 names lives, and is what $2 says
    pid=
    { read -r pid; } 2>/dev/null <"$1" && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return
    [ ! -r "/proc/$pid/cmdline" ] || grep -q "$2" "/proc/$pid/cmdline" 2>/dev/null
}
cd "$1/receiver" || exit 1
"""

#: FOLDER: starts `run` apart from whoever calls, unless it runs.
START = (
    _ALIVE
    + r"""
alive pid receiver/run && exit 0
! alive child receivewal || kill -INT "$pid"
rm -f said
if command -v setsid >/dev/null; then apart=setsid; else apart=nohup; fi
$apart sh "$PWD/run" </dev/null >/dev/null 2>&1 &
"""
)

#: FOLDER: ends pg_receivewal, which is started again at once and looks for the primary anew.
LOOK_ANEW = (
    _ALIVE
    + r"""
! alive child receivewal || kill -INT "$pid"
"""
)

#: FOLDER: ends it, and waits for that.
STOP = (
    _ALIVE
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
    _ALIVE
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
