"""Kubernetes' times on the wire: metav1.Time, RFC 3339 in UTC with whole seconds."""

from datetime import UTC, datetime


def format_time(moment: datetime) -> str:
    """`moment`, which must know its time zone, as metav1.Time; fractions of a second are cut off."""
    if moment.tzinfo is None:
        raise ValueError("a time without time zone cannot be written")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The moment that `text` names, in UTC. Accepts fractions and offsets. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"not an RFC 3339 time: {text!r} names no time zone")
    return moment.astimezone(UTC)
