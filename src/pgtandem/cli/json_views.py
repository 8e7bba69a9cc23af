"""The JSON shapes of the reading commands (docs/json.md). A shape only grows; a break is a new version."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pgtandem.errors import PgtandemError
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Plan
from pgtandem.model.topology import Topology
from pgtandem.observe.flow import Stages, wal_rate
from pgtandem.observe.health import cluster_health
from pgtandem.observe.tls_health import certificate_of, earliest_end
from pgtandem.plan.pgbouncer_health import PgbouncerHealth

if TYPE_CHECKING:  # other commands must not wait for them
    from pgtandem.apply.history import PastRun
    from pgtandem.observe.promotions import Promotions
    from pgtandem.plan.whatif import Outcome

VERSION = 1


def plan_json(plan: Plan, cluster: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "cluster": cluster,
        "converged": plan.empty,
        "primary": plan.primary,
        "look_again": plan.look_again,
        "steps": [
            {
                "id": step.id,
                "kind": step.kind.value,
                "node": step.node,
                "what": step.what,
                "why": step.why,
                "risk": step.risk.value,
                "needs": list(step.waits_for),
                "expects": [str(condition) for condition in step.expects],
                "proves": [str(condition) for condition in step.proves],
                "undo": step.undo,
            }
            for step in plan.steps
        ],
        "notes": list(plan.notes),
        "single_failures": [
            {"failure": row.failure, "writes": row.writes, "lost": row.loss} for row in plan.consequences
        ],
    }


def status_json(topology: Topology, observed: Observed) -> dict[str, Any]:
    health = cluster_health(topology, observed)
    return {
        "version": VERSION,
        "cluster": health.cluster,
        "primary": health.primary,
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "state": node.state,
                "upstream": node.upstream,
                "timeline": node.timeline,
                "lag_bytes": node.lag_bytes,
                "replay_lag_seconds": node.replay_lag_seconds,
                "stages": _stages(node.stages),
                "replay_hold": asdict(node.replay_hold) if node.replay_hold else None,
                "sync_state": node.sync_state,
                "apply_delay": node.apply_delay,
                "port": node.port,
                "zone": node.zone,
                "certificate_expires": _time(certificate.valid_until if certificate else None),
            }
            for node in health.nodes
            for certificate in [certificate_of(observed, node.name)]
        ],
        "synchronous": health.synchronous,
        "slots": [asdict(slot) for slot in health.slots],
        "wal_bytes_per_second": wal_rate(observed),
        "archive": health.archive,
        "archive_waiting_segments": health.archive_waiting_segments,
        "archive_age_seconds": health.archive_age_seconds,
        "archive_free_bytes": health.archive_free_bytes,
        "stream": asdict(health.stream) if health.stream else None,
        "backups": health.backups,
        "pgbouncers": [_pgbouncer(pgbouncer) for pgbouncer in health.pgbouncers],
        "tls": health.tls,
        "certificates_expire": _time(earliest_end(topology, observed)),
        "problems": list(health.problems),
        "remarks": list(health.remarks),
    }


def _pgbouncer(health: PgbouncerHealth) -> dict[str, Any]:
    databases = [{**asdict(database), "nodes": list(database.nodes)} for database in health.databases]
    return {**asdict(health), "databases": databases}


def _stages(stages: Stages | None) -> dict[str, Any] | None:
    return None if stages is None else {**asdict(stages), "slow": stages.slow}


def _time(seconds: float | None) -> str | None:
    """ISO 8601, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).isoformat()


def whatif_json(outcome: "Outcome", cluster: str) -> dict[str, Any]:
    loss = outcome.loss
    return {
        "version": VERSION,
        "cluster": cluster,
        "primary": outcome.primary,
        "down": list(outcome.down),
        "already_down": list(outcome.already),
        "writes": outcome.writes.value,
        "why": outcome.why,
        "after_promotion": outcome.after or None,
        "promoted": outcome.promoted,
        "candidates": [
            {
                "node": candidate.name,
                "fit": candidate.fit,
                "received": None if candidate.received is None else str(candidate.received),
                "checks": [
                    {
                        "rule": check.rule,
                        "value": check.value,
                        "threshold": check.threshold,
                        "verdict": check.verdict.value,
                    }
                    for check in candidate.checks
                ],
            }
            for candidate in outcome.candidates
        ],
        "loses_acknowledged": loss is not None and loss.acknowledged,
        "lost_bytes": 0 if loss is None else loss.size_bytes,
        "lost_seconds": 0 if loss is None else loss.seconds,
        "lost_why": None if loss is None else loss.why,
        "nodes": [
            {"name": fate.name, "becomes": fate.becomes.value, "upstream": fate.upstream, "why": fate.why}
            for fate in outcome.fates
        ],
        "kept_wal": [
            {
                "node": kept.name,
                "upstream": kept.upstream,
                "slot": kept.slot,
                "held_bytes": kept.held_bytes,
                "cap_bytes": kept.cap_bytes,
                "cap_reached_seconds": kept.cap_seconds,
                "disk_free_bytes": kept.free_bytes,
                "disk_full_seconds": kept.full_seconds,
            }
            for kept in outcome.retention
        ],
        "wal_bytes_per_second": None if outcome.rate is None else outcome.rate.bytes_per_second,
        "wal_measured_seconds": None if outcome.rate is None else outcome.rate.seconds,
    }


def history_json(
    cluster: str, runs: "Sequence[PastRun]", promotions: "Promotions", every_run: "Sequence[PastRun]"
) -> dict[str, Any]:
    from pgtandem.apply.history import run_of

    return {
        "version": VERSION,
        "cluster": cluster,
        "runs": [
            {
                "at": _time(run.at),
                "ended": _time(run.ended),
                "command": run.command,
                "who": run.who,
                "result": run.result.value,
                "code": run.code,
                "what": run.what,
                "why": run.why,
                "problems": list(run.problems),
                "steps": [
                    {
                        "id": step.id,
                        "node": step.node,
                        "what": step.what,
                        "result": step.result.value,
                        "seconds": step.seconds,
                        "remark": step.remark,
                        "code": step.code,
                        "what_failed": step.what_failed,
                        "why": step.why,
                    }
                    for step in run.steps
                ],
            }
            for run in runs
        ],
        "promotions": [
            {
                "at": _time(promotion.at),
                "node": promotion.node,
                "timeline": promotion.timeline,
                "left_timeline": promotion.left,
                "lsn": str(promotion.lsn),
                "reason": promotion.reason,
                "command": run.command if (run := run_of(promotion, every_run)) else None,
            }
            for promotion in promotions.found
        ],
        "unseen": [{"name": name, "why": why} for name, why in promotions.unseen],
    }


def uri_json(topology: Topology, uri: str) -> dict[str, Any]:
    return {"version": VERSION, "cluster": topology.cluster, "uri": uri}


def error_json(error: PgtandemError) -> dict[str, Any]:
    """Instead of any other shape, where the command failed."""
    return {
        "version": VERSION,
        "error": {
            "code": error.code.text,
            "what": error.what,
            "why": error.why,
            "next": error.next_step,
            "problems": [
                {"where": problem.where, "what": problem.what, "why": problem.why, "next": problem.next_step}
                for problem in error.problems
            ],
        },
    }
