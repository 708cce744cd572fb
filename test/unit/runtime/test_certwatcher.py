"""A TLS server follows its certificate files, on real sockets."""

import asyncio
import contextlib
import errno
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from unit.runtime import tls

from rbgctl.runtime.certwatcher import CertificateError, CertWatcher, Pair, server_context
from rbgctl.runtime.metrics import Registry
from rbgctl.runtime.testing.asserts import eventually
from rbgctl.runtime.testing.certificates import Authority


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    """An echo server with `context`; gives its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Watched:
    """A watcher over files in `folder`, with its context and counters."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.context = server_context()
        self.registry = Registry()
        self.watcher = CertWatcher(
            folder / "tls.crt",
            folder / "tls.key",
            self.context,
            reads=self.registry.certificate_reads,
            errors=self.registry.certificate_errors,
            **options,
        )

    @property
    def counts(self) -> tuple[float | None, float | None]:
        """Reads and errors."""
        value = self.registry.collectors.get_sample_value
        return value("certwatcher_read_certificate_total"), value("certwatcher_read_certificate_errors_total")


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., Watched]:
    return lambda **options: Watched(tmp_path, **options)


# -- at the start ------------------------------------------------------------------------------------------------


def test_a_missing_file_is_an_error_at_construction(tmp_path: Path, watch: Callable[..., Watched]) -> None:  # RT-CW-01
    with pytest.raises(CertificateError, match=rf"cannot read {tmp_path}/tls\.crt: No such file or directory"):
        watch()


def test_a_pair_that_does_not_fit_is_an_error_at_construction(  # RT-CW-01
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    tls.write(tmp_path, (tls.issue()[0], tls.issue()[1]))
    with pytest.raises(CertificateError, match=r"cannot use .*tls\.crt with .*tls\.key: KEY_VALUES_MISMATCH"):
        watch()


def test_an_encrypted_key_is_an_error_and_no_prompt(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = tls.issue()
    loaded = serialization.load_pem_private_key(key, None)
    locked = loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    tls.write(tmp_path, (certificate, locked))
    with pytest.raises(CertificateError, match="cannot use"):
        watch()


# -- looking again -----------------------------------------------------------------------------------------------


async def test_a_rotated_pair_is_used_by_new_handshakes_and_old_connections_live_on(  # RT-CW-05
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    first, second = tls.issue(), tls.issue()
    tls.write(tmp_path, first)
    watched = watch()
    async with serving(watched.context) as port:
        reader, writer = await tls.connect(port)
        assert writer.get_extra_info("ssl_object").getpeercert(True) == tls.der(first[0])
        tls.write(tmp_path, second)
        assert watched.watcher.read() is True
        assert await tls.served(port) == tls.der(second[0])
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()


async def test_a_pair_that_does_not_fit_never_reaches_the_live_context(  # RT-CW-02, RT-CW-05
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    first, second = tls.issue(), tls.issue()
    tls.write(tmp_path, first)
    watched = watch()
    async with serving(watched.context) as port:
        for bad in ((second[0], first[1]), (first[0], second[1]), (b"rubbish", first[1]), (second[0], b"rubbish")):
            tls.write(tmp_path, bad)
            assert watched.watcher.read() is False
            assert await tls.served(port) == tls.der(first[0])
        tls.write(tmp_path, second)
        assert watched.watcher.read() is True
        assert await tls.served(port) == tls.der(second[0])
    assert watched.counts == (6, 4)


async def test_a_file_that_is_deleted_and_created_again_is_noticed(  # RT-CW-02, RT-CW-03
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    first, second = tls.issue(), tls.issue()
    certificate, _ = tls.write(tmp_path, first)
    watched = watch()
    async with serving(watched.context) as port:
        certificate.unlink()
        assert watched.watcher.read() is False
        assert await tls.served(port) == tls.der(first[0])
        tls.write(tmp_path, second)
        assert watched.watcher.read() is True
        assert await tls.served(port) == tls.der(second[0])


async def test_a_swapped_symlink_is_noticed_again_and_again(  # RT-CW-03
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    pairs = [tls.issue() for _ in range(4)]
    tls.replace_projected(tmp_path, pairs[0])
    watched = watch()
    async with serving(watched.context) as port:
        for pair in pairs[1:]:
            tls.replace_projected(tmp_path, pair)
            assert watched.watcher.read() is True
            assert await tls.served(port) == tls.der(pair[0])


async def test_a_changed_intermediate_alone_is_noticed(  # RT-CW-02
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    old, new = Authority("old intermediate").pem, Authority("new intermediate").pem
    leaf, key = tls.issue()
    tls.write(tmp_path, (leaf + old, key))
    watched = watch()
    async with serving(watched.context) as port:
        assert await tls.served_chain(port) == [tls.der(leaf), tls.der(old)]
        tls.write(tmp_path, (leaf + new, key))
        assert watched.watcher.read() is True
        assert await tls.served_chain(port) == [tls.der(leaf), tls.der(new)]


def test_the_same_content_is_no_swap_but_a_read(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    # RT-CW-02, RT-MT-50
    pair = tls.issue()
    tls.write(tmp_path, pair)
    watched = watch()
    assert watched.counts == (1, 0)
    seen: list[Pair] = []
    watched.watcher.on_swap(seen.append)
    tls.write(tmp_path, pair)
    assert watched.watcher.read() is False
    assert watched.counts == (2, 0)
    assert seen == [Pair(*pair)]


def test_callbacks_see_the_current_pair_and_each_later_one(tmp_path: Path, watch: Callable[..., Watched]) -> None:
    # RT-CW-04, RT-MT-50
    first, second = tls.issue(), tls.issue()
    tls.write(tmp_path, first)
    watched = watch()
    seen: list[Pair] = []

    def broken(_: Pair) -> None:
        raise RuntimeError("callback")

    watched.watcher.on_swap(broken)
    watched.watcher.on_swap(seen.append)
    tls.write(tmp_path, second)
    watched.watcher.read()
    tls.write(tmp_path, (b"", b""))
    watched.watcher.read()
    assert seen == [Pair(*first), Pair(*second)]
    assert watched.counts == (3, 1)
    assert second[1] not in repr(watched.watcher.current).encode()


@pytest.mark.looptime
async def test_files_are_read_each_second_in_the_first_minute_and_each_ten_seconds_then(  # RT-CW-01, RT-CW-06
    tmp_path: Path, watch: Callable[..., Watched], loop_clock: Any
) -> None:
    tls.write(tmp_path, tls.issue())
    watched = watch(clock=loop_clock)
    task = asyncio.create_task(watched.watcher.run())
    await asyncio.sleep(60.5)
    assert watched.counts == (1 + 60, 0)
    await asyncio.sleep(100)
    assert watched.counts == (1 + 60 + 10, 0)
    task.cancel()


@pytest.mark.looptime
async def test_the_interval_is_an_option(tmp_path: Path, watch: Callable[..., Watched], loop_clock: Any) -> None:
    # RT-CW-01
    tls.write(tmp_path, tls.issue())
    watched = watch(clock=loop_clock, interval=0.25)
    task = asyncio.create_task(watched.watcher.run())
    await asyncio.sleep(100.1)
    assert watched.counts == (1 + 400, 0)
    task.cancel()


@pytest.mark.looptime
async def test_a_failing_look_does_not_end_the_watch(
    tmp_path: Path, watch: Callable[..., Watched], loop_clock: Any
) -> None:
    # RT-CW-02
    certificate, _ = tls.write(tmp_path, tls.issue())
    watched = watch(clock=loop_clock)
    task = asyncio.create_task(watched.watcher.run())
    certificate.unlink()
    await asyncio.sleep(2.5)
    second = tls.issue()
    tls.write(tmp_path, second)
    await asyncio.sleep(1)
    assert watched.watcher.current == Pair(*second)
    assert watched.counts == (4, 2)
    task.cancel()


def test_running_out_of_descriptors_is_a_failing_look(
    tmp_path: Path, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    # RT-CW-02
    tls.write(tmp_path, tls.issue())
    watched = watch()
    second = tls.issue()
    tls.write(tmp_path, second)

    def none_left(*_: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", none_left)
        assert not watched.watcher.read()
    assert watched.counts == (2, 1)
    assert watched.watcher.read()
    assert watched.watcher.current == Pair(*second)


# -- under load --------------------------------------------------------------------------------------------------


async def handshakes_during_rotation(folder: Path) -> set[bytes]:
    """Rotates 40 times while clients of another thread shake hands without pause; what they were served, DER.

    Every handshake verifies the certificate and proves that key and certificate belong together.
    """
    pairs = [tls.issue() for _ in range(4)]
    tls.write(folder, pairs[0])
    watched = Watched(folder)
    served: list[bytes] = []
    end = threading.Event()

    async def client(port: int) -> None:
        while not end.is_set():
            served.append(await tls.served(port))

    async def clients(port: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(client(port))

    async with serving(watched.context) as port:
        running = asyncio.create_task(asyncio.to_thread(asyncio.run, clients(port)))
        try:
            for number in range(1, 41):
                tls.write(folder, pairs[number % len(pairs)])
                assert watched.watcher.read()
                # Some handshakes later, and in the middle of others.
                enough = len(served) + 3
                await eventually(lambda enough=enough: len(served) >= enough or running.done(), interval=0.002)
        finally:
            end.set()
            await running
    assert set(served) <= {tls.der(pair[0]) for pair in pairs}
    return set(served)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_handshakes_during_rotation_never_fail(tmp_path: Path, loop: Any) -> None:  # RT-OP-04, RT-CW-05
    seen: list[set[bytes]] = []

    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            seen.append(runner.run(handshakes_during_rotation(tmp_path)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(seen[0]) == 4
