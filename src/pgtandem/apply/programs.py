"""What a host needs before a server can run there: the account, and programs that the account can reach."""

import posixpath

from pgtandem.apply.context import Context
from pgtandem.model.plan import Step


async def create_account(context: Context, step: Step) -> str:
    await context.host(step.node).create_account()
    context.observer.forget_programs()
    return ""


async def copy_programs(context: Context, step: Step) -> str:
    source, target = step.names
    name = posixpath.basename(posixpath.dirname(target))
    await context.host(step.node).copy_programs(source, name)
    context.observer.forget_programs()
    return ""
