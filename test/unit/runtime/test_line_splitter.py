"""Cutting watch streams into lines."""

from hypothesis import given
from hypothesis import strategies as st

from rbgctl.runtime.transport import LineSplitter


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=8), st.data())
def test_the_lines_do_not_depend_on_how_the_stream_was_chunked(lines: list[bytes], data: st.DataObject) -> None:
    """RT-RF-18: also chunks that split UTF-8 sequences, and empty keep-alive lines."""
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter = LineSplitter()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    assert found == [line for line in lines if line]


def test_a_line_may_be_ten_mebibytes_long() -> None:
    """RT-RF-18."""
    splitter = LineSplitter()
    line = b"x" * (10 << 20)
    found: list[bytes] = []
    for start in range(0, len(line), 1 << 16):
        found += splitter.feed(line[start : start + (1 << 16)])
    assert found == []
    assert splitter.feed(b"\n") == [line]


def test_half_a_line_at_the_end_is_never_delivered() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
