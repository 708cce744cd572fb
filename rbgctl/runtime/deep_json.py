"""JSON that is nested more deeply than decoders and encoders here follow.

The API server takes ten thousand levels wherever a schema says nothing. Decoders give up at about a thousand, orjson's
encoder at 254, and one such object in a list would fail the whole list. `fold` cuts out what lies below some level, so
that the rest can be decoded, and `unfold` puts it back into the decoded value: as fragments that orjson writes out
untouched, and that say nothing to who looks at them.
"""

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

LEVELS = 120
"""Below which everything is cut out: more than anything that is looked at, and less than any limit."""

Parts = Mapping[str, orjson.Fragment]
"""What was cut out, by the string that stands in its place."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_TOKENS_PER_TURN = 2000
_MARK = uuid.uuid4().hex


async def fold(text: bytes | memoryview) -> tuple[bytes, Parts]:
    """The text without what is nested too deeply. For valid JSON only; gives the event loop its turn now and then."""
    whole = bytes(text)
    kept: list[bytes] = []
    parts: dict[str, orjson.Fragment] = {}
    level = start = done = 0
    for number, token in enumerate(_TOKEN.finditer(whole), 1):
        if not number % _TOKENS_PER_TURN:
            await asyncio.sleep(0)
        match whole[token.start()]:
            case 0x7B | 0x5B:  # { [
                level += 1
                if level == LEVELS + 1:
                    start = token.start()
            case 0x7D | 0x5D:  # } ]
                if level == LEVELS + 1:
                    name = f"{_MARK}-{len(parts)}"
                    parts[name] = orjson.Fragment(whole[start : token.end()])
                    kept += (whole[done:start], f'"{name}"'.encode())
                    done = token.end()
                level -= 1
    kept.append(whole[done:])
    return b"".join(kept), parts


def unfold(value: Any, parts: Parts) -> Any:
    """The decoded value with what was cut out of its text."""
    if isinstance(value, str):
        return parts.get(value, value)
    if isinstance(value, list):
        return [unfold(item, parts) for item in value]
    if isinstance(value, dict):
        return {key: unfold(item, parts) for key, item in value.items()}
    return value
