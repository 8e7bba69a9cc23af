"""The report: one page that stands alone, for reading, printing and keeping. Pure: values in, HTML out.

Nothing is loaded from anywhere, and nothing in it runs: the page's own policy forbids both.
"""

import time
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

from pgtandem import __version__
from pgtandem.doctor.diagnose import unseen
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Finding, Severity
from pgtandem.model.value import dataclass
from pgtandem.model.words import duration_in_words, size_in_words
from pgtandem.observe.events import Event
from pgtandem.observe.health import ClusterHealth, cluster_health
from pgtandem.observe.samples import STAGES, Sample, Value, replay_lag, stage_lag, wal_rate
from pgtandem.observe.scale import round_top
from pgtandem.observe.settings_shown import settings_that_matter
from pgtandem.observe.tree import tree_of
from pgtandem.plan.durability import durability_in_words, single_failures
from pgtandem.web.charts import chart
from pgtandem.web.drawing import drawing
from pgtandem.web.elements import Child, document, el
from pgtandem.web.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
#: By this a report is known, and may be replaced by a newer one.
GENERATOR = "pgtandem report"


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made of: the last look with what doctor says to it, the samples before it, what happened."""

    look: Look
    findings: tuple[Finding, ...]
    samples: tuple[Sample, ...]
    events: tuple[Event, ...]


def report(material: Material) -> str:
    look = material.look
    health = cluster_health(look.topology, look.observed)
    title = f"Cluster {look.topology.cluster}"
    taken = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(look.observed.now))
    head = el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "generator", "content": GENERATOR}),
        el("title", None, f"{title}, {taken}"),
        el("style", None, STYLE),
    )
    sections = [
        _section("wrong", "What is wrong", _wrong(health, material.findings)),
        _section("topology", "Who streams from whom", [drawing(look.topology, health), _nodes(health)]),
        _section("lag", "Lag over time", _lag(material, health)),
        _section("events", "What happened meanwhile", _events(material.events)),
        _section("findings", "What doctor found", _findings(material)),
        _section("durability", "If something fails", _durability(look, health)),
        _section("archive", "Archive and slots", _archive(health)),
        _section("settings", "Settings that matter", _settings(look)),
    ]
    body = el(
        "body",
        None,
        el(
            "header",
            None,
            el("h1", None, title),
            el("p", None, f"PostgreSQL {look.topology.postgresql}. {taken}, by pgtandem {__version__}."),
            _verdict(health, material.findings),
        ),
        el("main", None, sections),
    )
    return document(el("html", {"lang": "en"}, head, body))


def _section(name: str, title: str, parts: Sequence[Element]) -> Element:
    return el("section", {"id": name}, el("h2", None, title), list(parts))


def _verdict(health: ClusterHealth, findings: Sequence[Finding]) -> Element:
    count = len(health.problems)
    grave = sum(finding.severity is not Severity.NOTE for finding in findings)
    calm = "Every node works now" if grave else "Nothing is wrong now"
    now = calm if not count else f"{count} thing{'s are' if count > 1 else ' is'} wrong now"
    traps = "no trap was found"
    if grave:
        gravest = min((finding.severity for finding in findings), key=list(Severity).index)
        traps = f"{grave} finding{'s' if grave > 1 else ''} of doctor, the gravest {gravest.value}"
    ill = count or any(finding.severity in (Severity.CRITICAL, Severity.HIGH) for finding in findings)
    return el("p", {"class": f"verdict {'ill' if ill else 'well'}", "id": "verdict"}, f"{now}; {traps}.")


def _wrong(health: ClusterHealth, findings: Sequence[Finding]) -> list[Element]:
    if not health.problems:
        traps = any(finding.severity is not Severity.NOTE for finding in findings)
        return [_p("Nothing now. What may go wrong stands under “What doctor found”." if traps else "Nothing.")]
    return [el("ul", {"class": "problems"}, [el("li", None, problem) for problem in health.problems])]


def _nodes(health: ClusterHealth) -> Element:
    rows: list[list[Child]] = []
    for node, depth in tree_of(health):
        lag = "-" if node.lag_bytes is None else size_in_words(node.lag_bytes)
        late = "-" if node.replay_lag_seconds is None else f"{node.replay_lag_seconds:.1f} s"
        name = ("└ " if depth else "") + node.name
        rows.append(
            [
                el("span", {"style": f"padding-left: {max(depth - 1, 0)}em"}, name),
                *(node.role, node.state, node.upstream or "-", node.zone or "-"),
                *(str(node.timeline or "-"), lag, late, node.sync_state or "-", str(node.port)),
            ]
        )
    headings = ("node", "role", "state", "follows", "zone", "timeline", "lag", "replay lag", "sync", "port")
    return _table(headings, rows)


def _lag(material: Material, health: ClusterHealth) -> list[Element]:
    samples = material.samples
    if len(samples) < 2:
        return [_p("It was looked at only once: --for says for how long to sample.")]
    times = [sample.at for sample in samples]
    seconds = duration_in_words(times[-1] - times[0])
    parts = [
        _p(f"{len(samples)} looks in {seconds}. What is to be sent is to be written, flushed and replayed as well.")
    ]

    def of(value: Value) -> list[float | None]:
        return [value(sample, samples[at - 1] if at else None) for at, sample in enumerate(samples)]

    for node in health.nodes:
        lines = [(stage, of(stage_lag(node.name, at))) for at, stage in enumerate(STAGES)]
        if all(value is None for _, values in lines for value in values):
            if node.role != "primary":
                parts.append(_p(f"{node.name} did not stream: it has no lag by stage."))
            continue
        top = round_top([value for _, values in lines for value in values], 1000)
        parts.append(chart(f"{node.name}: lag by stage", lines, times, top, _bytes))
    late = [(node.name, of(replay_lag(node.name))) for node in health.nodes if node.role != "primary"]
    if late:
        top = round_top([value for _, values in late for value in values], 1)
        parts.append(chart("How old what standbys show is", late, times, top, lambda value: f"{value:.1f} s"))
    rates = of(wal_rate)
    parts.append(
        chart("WAL written", [("per second", rates)], times, round_top(rates, 1000), lambda v: f"{_bytes(v)}/s")
    )
    return parts


def _bytes(value: float) -> str:
    return size_in_words(round(value))


def _events(events: Sequence[Event]) -> list[Element]:
    if not events:
        return [_p("Nothing.")]
    rows = [
        [time.strftime("%H:%M:%S", time.localtime(event.at)), ("! " if event.grave else "") + event.text]
        for event in events
    ]
    return [_table(("time", "what"), rows)]


def _findings(material: Material) -> list[Element]:
    groups: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in material.findings:
        groups.setdefault((finding.rule.id, finding.severity), []).append(finding)
    parts = [_finding(group) for group in groups.values()]
    parts += [_p(f"Not looked at: {name}: {why}") for name, why in unseen(material.look)]
    return parts or [_p("Nothing.")]


def _finding(group: Sequence[Finding]) -> Element:
    """One trap with every place where it is."""
    rule, severity = group[0].rule, group[0].severity
    places = []
    for finding in group:
        seen = finding.seen
        at = f" (at {seen.where})" if seen.where else ""
        places.append(el("li", None, f"{seen.node}: {seen.what}{at}" if seen.node else f"{seen.what}{at}"))
    fixes = [el("p", None, "Fix: ", el("code", None, fix)) for fix in dict.fromkeys(each.fix for each in group)]
    return el(
        "article",
        {"class": f"finding {severity.value}"},
        el("h3", None, el("span", {"class": "severity"}, severity.value), f" {rule.id} {rule.title}"),
        el("ul", {"class": "places"}, places),
        _p(rule.why),
        fixes,
    )


def _durability(look: Look, health: ClusterHealth) -> list[Element]:
    sentence = durability_in_words(look.topology)
    rows = [
        [row.failure, f"writes {row.writes}", row.loss]
        for row in single_failures(look.topology, health.primary or look.topology.names[0])
    ]
    return [
        _p(f"Durability: {sentence}. Now: {health.synchronous}."),
        _table(("failure", "writes", "lost"), rows),
    ]


def _archive(health: ClusterHealth) -> list[Element]:
    parts = [_p(f"WAL archive: {health.archive}.")]
    if health.backups is not None:
        parts.append(_p(f"Base backups: {health.backups}."))
    if health.slots:
        rows = [
            [
                *(slot.name, slot.node, "in use" if slot.active else "! not in use", slot.wal_status or "-"),
                "-" if slot.held_bytes is None else size_in_words(slot.held_bytes),
                "no cap" if slot.room_bytes is None else size_in_words(slot.room_bytes),
            ]
            for slot in health.slots
        ]
        parts.append(_table(("slot", "on", "state", "WAL", "held", "until the cap"), rows))
    if health.tls is not None:
        parts.append(_p(f"TLS: {health.tls}."))
    return parts


def _settings(look: Look) -> list[Element]:
    names = [name for name, _ in look.servers()]
    if not names:
        return [_p("No server answered.")]
    rows: list[list[Child]] = []
    for setting, values in settings_that_matter(dict(look.servers())).items():
        differ = len(set(values.values())) > 1
        cells: list[Child] = [el("code", None, values[name]) for name in names]
        rows.append([el("code", {"class": "differs" if differ else None}, setting), *cells])
    return [
        _p("Names in bold have values that differ between nodes; that can be right (primary_conninfo)."),
        _table(("setting", *names), rows, wide=True),
    ]


def _p(text: str) -> Element:
    return el("p", None, text)


def _table(headings: Sequence[str], rows: Iterable[Sequence[Child]], *, wide: bool = False) -> Element:
    return el(
        "div",
        {"class": "scroll"},
        el(
            "table",
            {"class": "wide" if wide else None},
            el("thead", None, el("tr", None, [el("th", {"scope": "col"}, heading) for heading in headings])),
            el("tbody", None, [el("tr", None, [el("td", None, cell) for cell in row]) for row in rows]),
        ),
    )
