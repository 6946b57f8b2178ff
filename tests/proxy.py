"""A TCP proxy in front of a real server, whose connections a test can cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Forwards to ``port`` of this machine; :meth:`cut` breaks all lines and refuses until :meth:`mend`."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and each new one at once."""
        self._is_cut = True
        for each in list(self._open):
            _close(each)

    def mend(self) -> None:
        """Forward again."""
        self._is_cut = False

    def close(self) -> None:
        """Stop listening."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    _close(client)
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                for ends in ((client, server), (server, client)):
                    self._open.add(ends[0])
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        self._open.discard(source)
        _close(source)
        _close(target)


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy, closed at the end."""
    opened = Proxy(port)
    try:
        yield opened
    finally:
        opened.close()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
