"""How the report looks, on a screen and on paper."""

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --rule: #d0d7de; --ill: #b3261e; --well: #1a7f37; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; margin: 0; letter-spacing: -0.01em; }
header p { margin: 0.2rem 0; color: var(--soft); }
header .verdict { display: inline-block; margin-top: 0.8rem; padding: 0.45rem 0.9rem; border-radius: 6px;
  border: 1px solid; font-weight: 600; }
.verdict.well { color: var(--well); background: #f0f9f2; }
.verdict.ill { color: var(--ill); background: #fdf1f0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 0.3rem; }
p { margin: 0.4rem 0; }
code { font: 0.86em/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.problems { margin: 0; padding-left: 1.2rem; color: var(--ill); font-weight: 600; }
.scroll { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.92em; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
.wide { table-layout: fixed; }
.wide th:first-child { width: 17rem; }
.wide td:first-child { white-space: nowrap; }
code.differs { font-weight: 700; }
svg text { font: 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--ink); }
svg .name { font-weight: 700; font-size: 15px; }
svg .state { font-weight: 600; }
svg .small, svg .axis { font-size: 11px; fill: var(--soft); }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
.topology { display: block; width: 100%; margin: 1rem 0; }
.box { fill: #f6f8fa; stroke: var(--soft); stroke-width: 1.2; }
.box.primary { fill: #eef6ff; stroke: #0b61a4; stroke-width: 2.2; }
.box.well { fill: #f6fbf7; stroke: var(--well); }
.box.ill { fill: #fdf1f0; stroke: var(--ill); stroke-width: 2.2; stroke-dasharray: 6 3; }
.arrow { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.arrow.cut { stroke: var(--ill); stroke-dasharray: 4 4; }
.head { fill: var(--ink); }
.chart { margin: 1.2rem 0 1.6rem; }
.chart figcaption { font-weight: 600; margin-bottom: 0.2rem; }
.chart svg { display: block; width: 100%; max-width: 720px; }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { list-style: none; margin: 0.2rem 0 0; padding: 0; display: grid;
  grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); font-size: 0.87em; color: var(--soft); }
.legend svg { display: inline-block; width: 28px; vertical-align: middle; }
.finding { margin: 0.8rem 0; padding: 0.7rem 1rem; border: 1px solid var(--rule); border-left: 4px solid var(--soft);
  border-radius: 4px; }
.finding.critical, .finding.high { border-left-color: var(--ill); }
.finding.medium { border-left-color: #bf8700; }
.places { margin: 0.3rem 0; padding-left: 1.2rem; }
.severity { font-size: 0.78em; text-transform: uppercase; letter-spacing: 0.04em; color: var(--soft);
  border: 1px solid var(--rule); border-radius: 3px; padding: 0.05rem 0.35rem; }
@page { margin: 16mm 14mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; }
  figure, .finding, tr, .topology { break-inside: avoid; }
  .scroll { overflow: visible; }
  .chart { margin: 0.6rem 0 0.8rem; }
  .chart svg:not([aria-hidden]) { max-width: 150mm; }
  th, td { padding-top: 0.15rem; padding-bottom: 0.15rem; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
