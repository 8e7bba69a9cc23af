"""Ending what a server left behind whose postmaster was killed, before anything is done with its data."""

from pgtandem.apply.context import Context
from pgtandem.errors import PgtandemError
from pgtandem.model.names import NodeName
from pgtandem.postgres.left_behind import END_LEFT_BEHIND, STAYS


async def end_left_behind(context: Context, name: NodeName) -> str:
    """Says how many there were; nothing where there was none, or the server runs. Raises PgtandemError PT-4005 where
    one does not end."""
    if await context.postmaster(name) is not None:
        return ""
    argv = ["sh", "-c", END_LEFT_BEHIND, "sh", context.node(name).data_directory]
    done = await context.host(name).run(argv, deadline_seconds=60)
    numbers = done.text.split()
    if done.exit_code == STAYS:
        raise PgtandemError(
            "PT-4005",
            f"a process of {name} does not end (process {numbers[0]})",
            why="Its server was killed and left it behind. It may still write into the data, and cannot be killed: it "
            "waits for its disk, say.",
            next_step="see what holds it up, then run the same command again",
        )
    if not numbers:
        return ""
    were = "process that its killed server had left behind was ended"
    if len(numbers) > 1:
        were = "processes that its killed server had left behind were ended"
    return f"{len(numbers)} {were}"
