"""TLS between two ends in one process: the real contexts, certificates and encryption, no socket.

Knows how two SSL objects shake hands and pass bytes. Refuses to know the network.
"""

from __future__ import annotations

import ssl


class TlsEnd:
    """One end. What is written comes out as records; records that are fed come out as what was written."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None, *, server: bool) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._in, self._out, server_side=server, server_hostname=server_hostname
        )

    def feed(self, records: bytes) -> None:
        self._in.write(records)

    def take(self) -> bytes:
        return self._out.read()

    def shake(self) -> bool:
        """Go on with the handshake; whether it is over. Raises ssl.SSLError."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def write(self, data: bytes) -> bytes:
        """The records for `data`."""
        view = memoryview(data)
        while view:
            view = view[self.object.write(view) :]
        return self.take()

    def read(self) -> bytes:
        """All that has come. Raises ssl.SSLError."""
        parts: list[bytes] = []
        while True:
            try:
                part = self.object.read(1 << 18)
            except ssl.SSLWantReadError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)


def shake_hands(client: TlsEnd, server: TlsEnd) -> tuple[ssl.SSLError | None, ssl.SSLError | None]:
    """Both through the handshake; the error of each that it ended with.

    A client is through before the server has looked at its certificate (TLS 1.3): its error is None then.
    """
    ready = False
    for _ in range(10):
        try:
            ready = client.shake()
        except ssl.SSLError as e:
            return e, ssl.SSLError(1, f"the client gave up: {e.reason or e}")
        server.feed(client.take())
        try:
            done = server.shake()
        except ssl.SSLError as e:
            client.feed(server.take())
            return (None if ready else e), e
        client.feed(server.take())
        if ready and done:
            return None, None
    raise AssertionError("a TLS handshake without end")
