"""Format lists of names for messages."""

from collections.abc import Iterable


def listed(items: Iterable[object], limit: int = 5, separator: str = ', ') -> str:
    """Join the first ``limit`` items and append the number of the others: ``a, b, c and 4 more``."""
    items = [str(item) for item in items]
    more = f' and {len(items) - limit} more' if len(items) > limit else ''
    return separator.join(items[:limit]) + more
