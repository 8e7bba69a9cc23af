"""Whether a server has the summaries of WAL that an incremental backup needs (manual, 25.3.3).

A copy of a data directory brings none along, and a server throws old ones away (wal_summary_keep_time): then nobody can
tell from there what has changed since.
"""

from pgtandem.model.backup import Backup
from pgtandem.model.server import Server


def lacks_summaries(server: Server, top: Server, parent: Backup) -> bool:
    """Whether summaries are missing between the begin of `parent` and now. `top` is the primary, which knows where
    timelines began. Where it is not known what the server has it is asked for the backup all the same."""
    if server.summarized is None:
        return False
    begin = parent.start_lsn
    path = [*((switch.timeline, switch.at) for switch in top.history), (top.timeline, None)]
    for timeline, left in path:
        if timeline < parent.timeline:
            continue
        # Of what it has not looked at yet it summarizes from its oldest WAL on, up to each checkpoint.
        known = server.summarized.get(timeline, server.oldest_lsn)
        if known is None or known > begin:
            return True
        if left is not None:
            begin = left
    return False
