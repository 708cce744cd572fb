"""The text of `kubectl rbg status` (CLI-ST-1..6). Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rbgctl.machinery.timestamps import parse_time

BAR = 16


def human_age(seconds: float) -> str:
    """How kubectl prints an age: two units where that helps, one where it does not."""
    total = int(seconds)
    if total < 0:
        return "0s" if total >= -1 else "<invalid>"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        rest = total % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8:
        rest = days % 365
        return f"{days // 365}y{rest}d" if rest else f"{days // 365}y"
    return f"{days // 365}y"


def status_text(group: Mapping[str, Any], namespace: str, now: datetime) -> str:
    """Raises ValueError when the status has another type than an operator writes."""
    meta = group["metadata"]
    head = [
        "📊 Resource Overview",
        f"  Namespace: {namespace}",
        f"  Name:      {meta.get('name', '')}",
        "",
        f"  Age:       {_age(meta.get('creationTimestamp'), now)}",
        "",
    ]
    status = group.get("status")
    if status is None or (isinstance(status, dict) and "roleStatuses" not in status):
        return "\n".join([*head, "Pending"])
    roles = status.get("roleStatuses") if isinstance(status, dict) else None
    if not isinstance(roles, list):
        raise ValueError(f"RoleBasedGroup {namespace}/{meta.get('name')}: roleStatuses not found in its status")
    lines, total, total_ready = [], 0, 0
    shown = [r for r in roles if isinstance(r, dict)]
    for role in shown:
        ready, replicas = _count(role.get("readyReplicas")), _count(role.get("replicas"))
        total, total_ready = total + replicas, total_ready + ready
        share = min(ready / replicas, 1.0) if replicas > 0 else 0.0
        bar = "█" * int(share * BAR)
        lines.append(
            f"{role.get('name', ''):<12} {ready}/{replicas}\t\t(total: {replicas})\t[{bar:<{BAR}}] {int(share * 100)}%"
        )
    return "\n".join(
        [*head, "📦 Role Statuses", *lines, "", f"∑ Summary: {len(shown)} roles | {total_ready}/{total} Ready"]
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _age(created: Any, now: datetime) -> str:
    try:
        return human_age((now - parse_time(created)).total_seconds())
    except (TypeError, ValueError):
        return "<unknown>"
