"""Runs the page on an address, until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from uniadapter.search.searcher import Searcher

from .app import create_app
from .options import LOOPBACK, PageOptions

#: Longest request line and headers that are read, so that a longer one is answered in words.
_LONGEST_HEAD = 4 * 2**20


def serve(
    find: Callable[[], Searcher],
    options: PageOptions,
    port: int,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the page; returns after Ctrl-C.

    Args:
        find: Makes what finds shots, which may take long, once the address is known to be free.
        options: Limits, and the address to listen on.
        port: 0 takes any that is free.
        say: Told the address, and what to beware of.

    Raises:
        ValueError: If the address can't be listened on.
    """
    with _listen(options.host, port) as listener:
        searcher = find()
        app = create_app(searcher, options)
        if options.host not in LOOPBACK:
            say(
                f"Warning: everybody who reaches {options.host} can search and watch all indexed "
                "files; there is no password. Without --host this machine alone can."
            )
        address = shown_address(options.host, listener.getsockname()[1])
        say(f"{searcher.index.root} is at {address} (Ctrl-C ends it).")
        # uvicorn ends all that runs and then hands the signal on.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(app, **server_options())).run(sockets=[listener])


def server_options() -> dict[str, Any]:
    """Options of uvicorn."""
    return {
        # Of uvicorn's two parsers the one that lets long addresses be answered in words.
        "http": "h11",
        "h11_max_incomplete_event_size": _LONGEST_HEAD,
        "ws": "none",
        "log_level": "warning",
        "server_header": False,
        "timeout_graceful_shutdown": 3,
    }


def shown_address(host: str, port: int) -> str:
    """The address to open in a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise ValueError(f"--port {port}: ports are numbers from 0 to 65535.")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"--host {host}: this machine has no such address ({error}).") from error
    try:
        # A server that just ended leaves its port waiting; that is no reason to refuse it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise ValueError(
            f"{shown_address(host, port)} can't be listened on ({error.strerror}): another program "
            "may do so already; --port takes another port, --port 0 any free one."
        ) from error
    return listener
