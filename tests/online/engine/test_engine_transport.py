"""The open connection over both engines: order, pressure both ways, ends of all kinds, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import weakref
from collections.abc import Callable

import pytest
from fakes.tls import Identities, Recorder, Stage, run, silent, stage, until

from online.config import TlsEngine
from online.engine import Acceptor, Limits

Play = Callable[..., None]
_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_records_in_pieces_are_read_in_order(play: Play, piece: int) -> None:
    """Without this, a record that a network cuts anywhere could be lost, or hang until the next one."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken(piece=piece)
        sent = os.urandom(20 * piece)
        for start in range(0, len(sent), 5 * piece):
            await client.send(sent[start : start + 5 * piece])
        assert await client.exactly(len(sent)) == sent

    play(act)


def test_many_records_in_one_piece_are_read_in_order(play: Play) -> None:
    """Without this, what arrives behind a record in the same packet could wait for ever."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken()
        parts = [os.urandom(size) for size in (1, 16384, 0, 100, 16385, 7, 1)]
        for part in parts:
            if part:
                client.tls.write(part) if len(part) <= 16384 else (
                    client.tls.write(part[:16384]),
                    client.tls.write(part[16384:]),
                )
        await client.flush()
        whole = b"".join(parts)
        assert await client.exactly(len(whole)) == whole

    play(act)


def test_a_large_answer_waits_for_a_client_that_reads_slowly(play: Play) -> None:
    """Without this, each client that does not read a revocation list would have a copy of it in memory, encrypted."""
    answer = os.urandom(1 << 20) * 8

    def give(protocol: Recorder, _data: bytes) -> None:
        protocol.transport.write(answer)

    async def act(stage: Stage) -> None:
        stage.on_data = give
        client = await stage.shaken()
        await client.send(b"give")
        protocol = await stage.protocol()
        await until(lambda: "pause" in protocol.events)
        await asyncio.sleep(0.02)
        waiting = protocol.transport.get_write_buffer_size()
        below = protocol.transport._below.get_write_buffer_size()  # type: ignore[attr-defined]
        assert 0 < waiting <= len(answer)
        assert below < 1 << 20
        assert await client.exactly(len(answer)) == answer
        await until(lambda: protocol.events[-1] == "resume")
        assert protocol.transport.get_write_buffer_size() == 0
        assert protocol.events.count("pause") == protocol.events.count("resume")

    play(act)


def test_what_is_written_while_it_is_full_follows_in_order(play: Play) -> None:
    """Without this, the head of one answer could come amid the body of another."""
    pieces = [os.urandom(1 << 20) * 4, b"small", os.urandom(300_000), b"end"]

    def give(protocol: Recorder, _data: bytes) -> None:
        protocol.transport.write(bytearray(pieces[0]))
        protocol.transport.writelines(pieces[1:3])
        protocol.transport.write(memoryview(pieces[3]))
        protocol.transport.close()

    async def act(stage: Stage) -> None:
        stage.on_data = give
        client = await stage.shaken()
        await client.send(b"give")
        protocol = await stage.protocol()
        await until(lambda: "pause" in protocol.events)
        assert await client.rest() == b"".join(pieces)

    play(act)


def test_a_protocol_that_does_not_pause_loses_its_connection(play: Play) -> None:
    """Without this, a client that asks and never reads could fill the memory of the node with answers."""

    def flood(protocol: Recorder, _data: bytes) -> None:
        for _ in range(100):
            protocol.transport.write(bytes(1 << 20))

    async def act(stage: Stage) -> None:
        stage.on_data = flood
        client = await stage.shaken()
        await client.send(b"give")
        protocol = await stage.protocol()
        await until(lambda: "lost" in protocol.events)

    play(act, Limits(waiting=2 << 20))


def test_a_client_that_never_reads_loses_its_connection(play: Play) -> None:
    """Without this, clients that ask for much and read nothing could hold connections for ever."""

    def give(protocol: Recorder, _data: bytes) -> None:
        protocol.transport.write(bytes(16 << 20))

    async def act(stage: Stage) -> None:
        stage.on_data = give
        client = await stage.shaken()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"give")
        protocol = await stage.protocol()
        await until(lambda: "lost" in protocol.events)
        assert len(stage.acceptor.stalled) == 0

    play(act, Limits(stall=0.1))


def test_a_protocol_that_wants_nothing_is_given_nothing(play: Play) -> None:
    """Without this, a client that sends faster than it is served could fill the memory of the node."""

    def stop(protocol: Recorder, _data: bytes) -> None:
        protocol.transport.pause_reading()

    async def act(stage: Stage) -> None:
        stage.on_data = stop
        client = await stage.shaken()
        sent = os.urandom(1 << 20) * 8
        sending = asyncio.create_task(client.send(sent))
        protocol = await stage.protocol()
        await until(lambda: len(protocol.received) > 0)
        await asyncio.sleep(0.05)
        # One record, though more has arrived; and the client cannot send the rest.
        assert len(protocol.received) <= 16384
        assert not protocol.transport.is_reading()
        assert not sending.done()
        stage.on_data = silent
        protocol.transport.resume_reading()
        await sending
        await until(lambda: len(protocol.received) == len(sent))
        assert protocol.received == sent

    play(act)


def test_pausing_at_each_record_loses_none(play: Play) -> None:
    """Without this, what was received but not read when a protocol paused could be lost, or come out of order."""

    def stop_and_go(protocol: Recorder, _data: bytes) -> None:
        protocol.transport.pause_reading()
        asyncio.get_running_loop().call_soon(protocol.transport.resume_reading)

    async def act(stage: Stage) -> None:
        stage.on_data = stop_and_go
        client = await stage.shaken()
        sent = os.urandom(500_000)
        await client.send(sent)
        protocol = await stage.protocol()
        await until(lambda: len(protocol.received) == len(sent))
        assert protocol.received == sent
        await client.close_notify()
        await until(lambda: "lost" in protocol.events)

    play(act)


def answer_and_close(protocol: Recorder, data: bytes) -> None:
    """Answer once."""
    protocol.transport.write(data)
    protocol.transport.close()
    protocol.transport.write(b"never")
    protocol.transport.close()


@pytest.mark.parametrize("version", _VERSIONS)
def test_the_end_is_a_proper_one(play: Play, version: ssl.TLSVersion) -> None:
    """Without this, a client could not tell the end of an answer from one that somebody cut off (RFC 8446 §6.1)."""

    async def act(stage: Stage) -> None:
        stage.on_data = answer_and_close
        client = await stage.shaken(stage.client_context(version=version))
        await client.send(b"hello")
        # More of it is on its way when the node closes; no reset may destroy the answer.
        await client.send(bytes(50_000))
        assert await client.rest() == b"hello"
        protocol = await stage.protocol()
        assert protocol.transport.is_closing()
        await client.close_notify()
        client.close()
        await until(lambda: "lost" in protocol.events)
        assert protocol.received == b"hello"
        assert protocol.error is None
        assert len(stage.acceptor.ending) == 0

    play(act)


def test_a_client_that_never_closes_is_closed(play: Play) -> None:
    """Without this, clients could keep connections that the node has ended."""

    async def act(stage: Stage) -> None:
        stage.on_data = answer_and_close
        client = await stage.shaken()
        await client.send(b"hello")
        assert await client.rest() == b"hello"
        protocol = await stage.protocol()
        assert protocol.events == ["made"]
        await until(lambda: "lost" in protocol.events)

    play(act, Limits(close=0.1))


def test_of_too_many_that_never_close_the_oldest_goes(play: Play) -> None:
    """Without this, each client could keep a socket of the node for two seconds more than it pays for."""

    async def act(stage: Stage) -> None:
        stage.on_data = answer_and_close
        for _ in range(6):
            client = await stage.shaken()
            await client.send(b"hello")
            assert await client.rest() == b"hello"
        assert len(stage.acceptor.ending) <= 3
        assert "lost" in stage.protocols[0].events

    play(act, Limits(handshakes=3))


def test_an_abort_is_at_once(play: Play) -> None:
    """Without this, a worker that must end could not."""

    async def act(stage: Stage) -> None:
        stage.on_data = lambda protocol, _data: protocol.transport.abort()
        client = await stage.shaken()
        await client.send(b"hello")
        with pytest.raises((ssl.SSLEOFError, ConnectionError)):
            await client.receive()
        protocol = await stage.protocol()
        assert protocol.events == ["made", "lost"]
        protocol.transport.abort()
        protocol.transport.write(b"x")
        protocol.transport.resume_reading()
        protocol.transport.pause_reading()

    play(act)


@pytest.mark.parametrize("proper", [True, False], ids=["close-notify", "tcp-only"])
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "closed"])
def test_a_client_that_ends_its_side_first(play: Play, proper: bool, keep: bool) -> None:
    """Without this, half a connection could stay for ever, or a protocol that still answers could not."""

    async def act(stage: Stage) -> None:
        stage.on_data = silent
        client = await stage.shaken()
        await client.send(b"hello")
        protocol = await stage.protocol()
        await until(lambda: protocol.received == b"hello")
        protocol.keep_open = keep
        if proper:
            await client.close_notify()
        else:
            client.writer.write_eof()
        await until(lambda: "eof" in protocol.events)
        if keep:
            await asyncio.sleep(0.02)
            assert protocol.events == ["made", "eof"]
            protocol.transport.write(b"answer")
            protocol.transport.close()
            assert await client.rest() == b"answer"
        else:
            assert await client.rest() == b""
        await until(lambda: protocol.events == ["made", "eof", "lost"])

    play(act)


def test_an_end_within_a_record_is_an_end(play: Play) -> None:
    """Without this, a connection that a firewall cuts could be waited for."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken()
        client.tls.write(b"x" * 1000)
        client.writer.write(client.outgoing.read()[:500])
        client.writer.write_eof()
        protocol = await stage.protocol()
        await until(lambda: protocol.events == ["made", "eof", "lost"])
        assert protocol.received == b""

    play(act)


def test_a_reset_is_an_end(play: Play) -> None:
    """Without this, a client that vanishes could leave its connection behind, or an exception in the log."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken()
        await client.send(b"hello")
        protocol = await stage.protocol()
        await until(lambda: protocol.received == b"hello")
        client.writer.transport.abort()
        await until(lambda: "lost" in protocol.events)
        assert protocol.transport.get_extra_info("peername") is not None

    play(act)


@pytest.mark.parametrize("version", _VERSIONS)
def test_a_record_that_was_tampered_with_ends_the_connection_with_an_alert(play: Play, version: ssl.TLSVersion) -> None:
    """Without this, whoever can change bytes on the way could change a request, or hang it."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken(stage.client_context(version=version))
        client.tls.write(b"x" * 100)
        record = bytearray(client.outgoing.read())
        record[-1] ^= 1
        client.writer.write(bytes(record) + b"y" * 10_000)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            await client.receive()
        client.close()
        protocol = await stage.protocol()
        await until(lambda: "lost" in protocol.events)
        assert protocol.received == b""

    play(act)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 5000, b"\x16\x03\x01\x00\x05hello"])
def test_bytes_that_are_no_records_end_the_connection(play: Play, data: bytes) -> None:
    """Without this, whoever can write into a connection could hang it."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken()
        client.writer.write(data)
        with pytest.raises(ssl.SSLError):
            await client.receive()
        client.close()
        protocol = await stage.protocol()
        await until(lambda: "lost" in protocol.events)
        assert protocol.received == b""

    play(act)


def test_an_empty_record_is_passed_over(play: Play) -> None:
    """Without this, a client that sends one, as some do against attacks on old suites, could pass for one that ends."""

    async def act(stage: Stage) -> None:
        client = await stage.shaken(stage.client_context(version=ssl.TLSVersion.TLSv1_2))
        client.tls.write(b"")
        await client.send(b"hello")
        assert await client.exactly(5) == b"hello"

    play(act)


def test_an_end_of_the_worker_lets_handshakes_finish_and_cuts_those_that_do_not(play: Play) -> None:
    """Without this, a reload could cost a client its connection, or a silent one keep the old worker."""

    async def act(stage: Stage) -> None:
        silent_one, slow, left = [await stage.connect() for _ in range(3)]
        with pytest.raises(ssl.SSLWantReadError):
            slow.tls.do_handshake()
        await slow.flush()
        with pytest.raises(ssl.SSLWantReadError):
            left.tls.do_handshake()
        await left.flush()
        await until(lambda: len(stage.acceptor.shaking) == 3)
        settling = asyncio.create_task(stage.acceptor.settle(0.3))
        await slow.shake()
        await slow.send(b"x")
        assert await slow.exactly(1) == b"x"
        await settling
        assert not await silent_one.more()
        assert len(stage.acceptor.shaking) == 0
        assert stage.refused == []
        # Whoever is done is not touched.
        await slow.send(b"y")
        assert await slow.exactly(1) == b"y"
        await stage.acceptor.settle(10)

    play(act)


def test_an_end_of_the_worker_waits_for_last_words_to_be_read_and_no_longer(play: Play) -> None:
    """Without this, the last answer of a worker that ends could be lost, or a client keep it from ending."""

    async def act(stage: Stage) -> None:
        stage.on_data = answer_and_close
        prompt, never = await stage.shaken(), await stage.shaken()
        for each in (prompt, never):
            await each.send(b"hello")
            assert await each.rest() == b"hello"
        prompt.close()
        await stage.acceptor.close(0.2)
        await until(lambda: all("lost" in each.events for each in stage.protocols))

    play(act)


class Plain(asyncio.Protocol):
    """An echo that keeps nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, as protocols do."""
        self.transport: asyncio.Transport | None = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.write(data)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        del exc
        self.transport = None


@pytest.mark.parametrize("loop", [asyncio.new_event_loop])
def test_connections_leave_nothing_behind(
    identities: Identities, engine: TlsEngine, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Without this, a node would grow with each connection until it is killed."""
    alive: weakref.WeakSet[object] = weakref.WeakSet()

    async def main() -> None:
        async with stage(identities, engine, Limits(handshake=0.5)) as shown:
            context = shown.client_context(identities.client)
            inner = shown.acceptor

            def made() -> Plain:
                plain = Plain()
                alive.add(plain)
                return plain

            inner.factory = made
            original = Acceptor.__call__

            def tracked() -> asyncio.Protocol:
                connection = original(inner)
                alive.add(connection)
                return connection

            server = await asyncio.get_running_loop().create_server(tracked, "127.0.0.1", 0)
            shown.port = server.sockets[0].getsockname()[1]

            async def served() -> None:
                client = await shown.shaken(context)
                await client.send(b"x")
                assert await client.rest() == b"x"
                client.close()

            async def refused() -> None:
                _, writer = await shown.raw()
                writer.write(b"garbage that is no TLS\r\n\r\n")
                writer.close()

            async def left() -> None:
                client = await shown.connect(context)
                with pytest.raises(ssl.SSLWantReadError):
                    client.tls.do_handshake()
                await client.flush()
                client.writer.transport.abort()

            gc.collect()
            gc.disable()
            try:
                for each in (served, refused, left):
                    for _ in range(30):
                        await each()
                    await until(lambda: len(inner.shaking) == len(inner.ending) == 0)
                    await asyncio.sleep(0.02)
                    # Without the collector's help: nothing of a connection refers to itself in the end.
                    assert len(alive) <= 1, each
            finally:
                gc.enable()
                server.close()

    run(loop, main())
