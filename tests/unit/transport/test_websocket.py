"""The websocket channel: the acceptance suite, and what only sockets can do wrong."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from crdt_sync.errors import AddressInUseError, ChannelClosed, InputError, PeerUnreachableError
from crdt_sync.testing.channels import ChannelAcceptance
from crdt_sync.transport.base import CHANNEL_LIMITS, Channel, ChannelLimits, CloseCode
from crdt_sync.transport.websocket import dial, listen
from tests.unit.transport.conftest import SilentLine, accepting, websocket_pair

SHORT = ChannelLimits(idle_timeout_s=0.3, close_timeout_s=0.3)


@pytest.fixture(autouse=True)
async def no_hang() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


class TestWebSocketChannel(ChannelAcceptance):
    @asynccontextmanager
    async def connected(self, limits: ChannelLimits) -> AsyncIterator[tuple[Channel, Channel]]:
        async with websocket_pair(limits) as pair:
            yield pair

    @pytest.fixture(autouse=True)
    def no_hang(self) -> None:
        """The suite has its own loop and its own deadline."""


async def echo(channel: Channel) -> None:
    while True:
        await channel.send(await channel.receive())


async def test_port_0_is_a_real_port_when_listen_returns() -> None:
    async with await listen(echo) as listener:
        assert listener.port > 0
        assert listener.url == f"ws://127.0.0.1:{listener.port}"
        assert repr(listener) == f"<listener {listener.url}, 0 channels>"
        channel = await dial(listener.url)
        await channel.send(b"ping")
        assert await channel.receive() == b"ping"
        assert listener.channels == 1
        assert repr(channel) == f"<websocket channel to 127.0.0.1:{listener.port}, open>"
        await channel.close()
        assert "ended 1000" in repr(channel)


async def test_ipv6_addresses_are_written_with_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        listener = await listen(echo, host="::1")
    except InputError:
        pytest.skip("this machine has no IPv6 loopback")
    async with listener:
        assert listener.url == f"ws://[::1]:{listener.port}"
        channel = await dial(listener.url)
        assert channel.remote == f"[::1]:{listener.port}"
        await channel.close()


async def test_a_port_that_is_taken() -> None:
    async with await listen(echo) as listener:
        with pytest.raises(AddressInUseError):
            await listen(echo, port=listener.port)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000), ("a" * 70, 0)])
async def test_an_address_that_is_not_ours(host: str, port: int) -> None:
    with pytest.raises(InputError) as caught:
        await listen(echo, host=host, port=port)
    assert caught.value.hint


async def test_nothing_listens_there() -> None:
    async with await listen(echo) as listener:
        url = listener.url
    with pytest.raises(PeerUnreachableError) as caught:
        await dial(url)
    assert f"127.0.0.1:{listener.port}" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:80", "http://127.0.0.1", "ws://", "ws://[::1", "ws://127.0.0.1:x", "ws://h:70000",
     "ws://" + "a" * 70, "ws://127.0.0.1/#fragment"],
)  # fmt: skip
async def test_an_address_that_cannot_be_read(url: str) -> None:
    with pytest.raises(InputError) as caught:
        await dial(url)
    assert "ws://host:port" in caught.value.hint


async def test_a_context_for_tls_needs_wss() -> None:
    with pytest.raises(InputError):
        await dial("ws://127.0.0.1:1", tls=ssl.create_default_context())


async def test_secrets_of_an_address_are_not_told() -> None:
    async with await listen(echo) as listener:
        port = listener.port
    with pytest.raises(PeerUnreachableError) as caught:
        await dial(f"ws://user:hunter2@127.0.0.1:{port}/?token=hunter2")
    assert "hunter2" not in str(caught.value)


async def _answer_with(data: bytes) -> asyncio.Server:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.close()

    return await asyncio.start_server(handler, "127.0.0.1", 0)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"\x00" * 100])
async def test_what_answers_is_no_websocket(answer: bytes) -> None:
    async with await _answer_with(answer) as server:
        with pytest.raises(PeerUnreachableError):
            await dial(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_a_peer_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PeerUnreachableError) as caught:
        await dial(f"ws://127.0.0.1:{server.getsockname()[1]}", limits=ChannelLimits(open_timeout_s=0.2))
    assert "in time" in str(caught.value)


async def test_browsers_are_refused() -> None:
    async with await listen(echo) as listener:
        with pytest.raises(InvalidStatus) as caught:
            await connect(listener.url, origin="http://127.0.0.1", proxy=None)  # type: ignore[arg-type]  # websockets types origins more narrowly than it takes them
    assert caught.value.response.status_code == 403


async def test_nothing_is_compressed_and_the_version_is_not_told() -> None:
    async with await listen(echo) as listener, connect(listener.url, proxy=None) as raw:
        assert raw.response is not None
        assert "Sec-WebSocket-Extensions" not in raw.response.headers
        assert "Server" not in raw.response.headers


async def test_text_is_refused() -> None:
    async with accepting(CHANNEL_LIMITS) as (listener, accepted), connect(listener.url, proxy=None) as raw:
        channel = await accepted.get()
        await raw.send("text")
        for _ in range(2):
            with pytest.raises(ChannelClosed) as caught:
                await channel.receive()
            assert caught.value.code == CloseCode.UNSUPPORTED_DATA


async def test_a_message_over_the_receivers_limit_ends_the_channel() -> None:
    async with accepting(ChannelLimits(message_bytes_max=10)) as (listener, accepted):
        dialer = await dial(listener.url)
        channel = await accepted.get()
        await dialer.send(b"x" * 11)
        for end in (channel, dialer):
            with pytest.raises(ChannelClosed) as caught:
                await end.receive()
            assert caught.value.code == CloseCode.TOO_LARGE


async def test_a_peer_that_is_gone_without_a_word() -> None:
    async with accepting(CHANNEL_LIMITS) as (listener, accepted):
        dialer = await dial(listener.url)
        channel = await accepted.get()
        dialer._connection.transport.abort()
        with pytest.raises(ChannelClosed) as caught:
            await channel.receive()
        assert caught.value.code == CloseCode.LOST
        with pytest.raises(ChannelClosed):
            await dialer.send(b"late")
        await dialer.close()


async def test_a_silent_peer_is_lost_within_the_idle_timeout() -> None:
    async with accepting(CHANNEL_LIMITS) as (listener, _):
        line = SilentLine()
        async with line.open(listener.port):
            dialer = await dial(f"ws://127.0.0.1:{line.port}", limits=SHORT)
            line.go_silent()
            with pytest.raises(ChannelClosed) as caught:
                await dialer.receive()
            assert caught.value.code == CloseCode.LOST


async def test_a_peer_that_takes_nothing_in_is_lost_within_the_idle_timeout() -> None:
    async with accepting(CHANNEL_LIMITS) as (listener, _):
        line = SilentLine()
        async with line.open(listener.port):
            dialer = await dial(f"ws://127.0.0.1:{line.port}", limits=SHORT)
            line.go_silent()

            async def send_on() -> None:
                while True:
                    await dialer.send(bytes(1_000_000))

            with pytest.raises(ChannelClosed) as caught:
                await send_on()
            assert caught.value.code == CloseCode.LOST


async def test_channels_beyond_the_limit_are_told_to_come_later() -> None:
    async with accepting(ChannelLimits(channels_max=1)) as (listener, accepted):
        first = await dial(listener.url)
        await accepted.get()
        second = await dial(listener.url)
        with pytest.raises(ChannelClosed) as caught:
            await second.receive()
        assert caught.value.code == CloseCode.TRY_AGAIN_LATER
        await first.close()


async def test_a_channel_is_closed_when_its_handler_returns() -> None:
    async def handler(channel: Channel) -> None:
        await channel.send(b"only this")

    async with await listen(handler) as listener:
        channel = await dial(listener.url)
        assert await channel.receive() == b"only this"
        with pytest.raises(ChannelClosed) as caught:
            await channel.receive()
        assert caught.value.code == CloseCode.NORMAL


async def test_a_handler_that_fails_costs_its_channel_only(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(channel: Channel) -> None:
        if await channel.receive() == b"fail":
            raise RuntimeError("a mistake in the handler")
        await channel.send(b"fine")

    async with await listen(handler) as listener:
        failing = await dial(listener.url)
        await failing.send(b"fail")
        with pytest.raises(ChannelClosed) as caught:
            await failing.receive()
        assert caught.value.code == CloseCode.INTERNAL_ERROR
        other = await dial(listener.url)
        await other.send(b"go on")
        assert await other.receive() == b"fine"
    assert "a mistake in the handler" in caplog.text


async def test_closing_the_listener_tells_its_peers() -> None:
    async with await listen(echo) as listener:
        channel = await dial(listener.url)
        waiting = asyncio.create_task(channel.receive())
        await listener.close()
        with pytest.raises(ChannelClosed) as caught:
            await waiting
        assert caught.value.code == CloseCode.GOING_AWAY
        with pytest.raises(PeerUnreachableError):
            await dial(listener.url)


async def test_closing_the_listener_ends_a_handler_that_does_not() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(channel: Channel) -> None:
        del channel
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    listener = await listen(handler, limits=SHORT)
    channel = await dial(listener.url)
    await began.wait()
    await listener.close()
    assert cancelled.is_set()
    await channel.close()


async def test_contents_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with await listen(echo) as listener:
        channel = await dial(listener.url)
        await channel.send(b"the-secret")
        await channel.receive()
        await channel.close()
    assert "the-secret" not in caplog.text
    assert "7468652d736563726574" not in caplog.text.replace(" ", "")


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts of a server and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "server.pem"
    path.write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_wss_with_a_certificate(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    async with await listen(echo, tls=server) as listener:
        assert listener.url == f"wss://127.0.0.1:{listener.port}"
        channel = await dial(listener.url, tls=client)
        await channel.send(b"over TLS")
        assert await channel.receive() == b"over TLS"
        await channel.close()
        with pytest.raises(PeerUnreachableError) as caught:
            await dial(listener.url)
        assert "certificate" in caught.value.hint
