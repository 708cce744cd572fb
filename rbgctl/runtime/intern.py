"""One copy of each text that recurs in headers: label keys, namespaces, phases, nodes, kinds (RT-MM-07)."""

MAX_TEXTS = 50_000
MAX_LENGTH = 128


class InternTable:
    """Remembers at most `limit` texts; then it starts anew, which costs no more than some second copies.

    Not for what differs with each object (names, uids, versions): that would only push out the rest. Longer texts than
    128 characters are not worth it.
    """

    def __init__(self, limit: int = MAX_TEXTS) -> None:
        self._limit = limit
        self._texts: dict[str, str] = {}

    def intern(self, text: str) -> str:
        """An equal text, the same object each time."""
        known = self._texts.get(text)
        if known is not None:
            return known
        if len(text) > MAX_LENGTH:
            return text
        if len(self._texts) >= self._limit:
            self._texts.clear()
        self._texts[text] = text
        return text

    def __len__(self) -> int:
        return len(self._texts)
