"""The WAL archive for people: what is there of each timeline, what can be restored, what is wrong."""

import textwrap
from itertools import groupby

from pgtandem.cli.terminal import Paint
from pgtandem.model.archive_report import ArchiveReport, Restorable
from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.postgres.segments import segment_name

_SHOWN = 20


def archive_lines(topology: Topology, report: ArchiveReport, paint: Paint, columns: int) -> list[str]:
    content = report.content
    files = f"{content.file_count} file{'' if content.file_count == 1 else 's'}"
    lines = [paint.dim("timeline  segments  from                      to")]
    for one in content.timelines:
        for low, high in one.runs:
            first, last = (segment_name(one.timeline, number, content.segment_bytes) for number in (low, high))
            lines.append(f"{one.timeline:<8}  {high - low + 1:<8}  {first}  {last}")
        for number in one.partial:
            whose = f"{'':<18}" if one.runs else f"{one.timeline:<8}  {0:<8}"
            lines.append(f"{whose}  {segment_name(one.timeline, number, content.segment_bytes)}.partial")
    if content.streamed:
        lines.append(f"only streamed as yet: {len(content.streamed)}, from {content.streamed[0]} on")
    if content.tail is not None:
        name = segment_name(content.tail.timeline, content.tail.number, content.segment_bytes)
        lines.append(f"{content.tail.timeline:<8}  streamed  {name}  up to {content.tail.end}")
    if not content.timelines:
        lines = ["no WAL is archived yet"]
    lines.append(f"{files}, {size_in_words(content.size_bytes)}, in {report.directory}/{report.system_identifier}")
    if report.checked is not None:
        lines.append(f"{report.checked} read and compared with their checksums")
    if report.without_checksum:
        count = len(report.without_checksum)
        verb = "has" if count == 1 else "have"
        lines.append(f"{count} {verb} no checksum: archived by an older pgtandem, or by hand")
    # Backups of one unbroken stretch lead to the same end: that is one line, as there may be a hundred of them.
    for _, group in groupby(sorted(report.restorable, key=_stretch), _stretch):
        begins, *others = group
        state = "damaged" if begins.missing in report.unusable else "missing"
        until = f"to {begins.end}" + (f", where {begins.missing} is {state}" if begins.hole else "")
        which = f"{len(others) + 1} backups from {begins.backup} on" if others else f"backup {begins.backup}"
        text = f"restorable: {which}, timeline {begins.timeline}: {begins.start} {until}"
        lines += [paint.yellow(line) if begins.hole else line for line in _wrapped(text, columns)]
    if not report.restorable:
        lines.append("restorable: nothing, without a base backup in the archive")
    shown = report.damages[:_SHOWN]
    for damage in shown:
        where = f" ({damage.where})" if damage.where and len(topology.archive_hosts) > 1 else ""
        lines += [paint.red(line) for line in _wrapped(f"! {damage.what}{where}", columns)]
    if len(report.damages) > len(shown):
        lines.append(paint.red(f"! {len(report.damages) - len(shown)} more: --json shows all of them"))
    return lines


def _stretch(interval: Restorable) -> tuple[int, int, bool]:
    return interval.timeline, interval.end.position, interval.hole


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
