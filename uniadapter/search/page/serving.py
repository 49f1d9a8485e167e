"""Runs the page on an address, until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

import uvicorn

from .app import create_app
from .options import LOOPBACK, PageOptions

#: Longest request line and headers that are read, so that a longer one is answered in words.
_LONGEST_HEAD = 4 * 2**20


def serve(searcher: Any, options: PageOptions, port: int) -> None:
    """Serve the page and print its address; returns after Ctrl-C or SIGTERM.

    Args:
        searcher: What finds shots.
        options: Limits, and the address to listen on.
        port: 0 takes any that is free.

    Raises:
        ValueError: If the address can't be listened on.
    """
    listener = _listen(options.host, port)
    with listener:
        address = shown_address(options.host, listener.getsockname()[1])
        if options.host not in LOOPBACK:
            print(
                f"warning: everybody who reaches {options.host} can search and watch all indexed "
                "files: there is no password. Without --host only this machine can.",
                file=sys.stderr,
            )
        app = create_app(searcher, options)
        config = uvicorn.Config(app, **server_options())
        print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
        # uvicorn ends all that runs and then hands the signal on.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


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
