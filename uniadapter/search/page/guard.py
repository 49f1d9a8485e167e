"""What stands in front of every route: who may ask, readable addresses, safe headers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
from collections import Counter
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import PageError
from .options import LOOPBACK, PageOptions

logger = logging.getLogger("uniadapter.page")

#: Everything comes from this server; nothing runs or styles the page from within its HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_LONGEST_ADDRESS = 8192
_DROPPED_BYTES = 2**30
_DROPPED_SECONDS = 30.0
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/?#@\s]+)(?::[0-9]{1,5})?")


def host_name(host: str) -> str | None:
    """The name in a field ``Host``, without its port; None of what is none."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").rstrip(".").lower() if match else None


class Guard:
    """Checks requests and completes replies.

    A page elsewhere may point its own name at this machine and so read what only this machine
    should (DNS rebinding): requests that call the server by a foreign name are refused. On an
    address that stands for all of the machine's, any address written in digits will do, for such
    an attack needs a name.

    Args:
        app: The routes.
        options: Limits.
    """

    def __init__(self, app: ASGIApp, options: PageOptions) -> None:
        self.app = app
        self.max_text = options.max_text
        names = {*LOOPBACK, options.host, *options.allowed_hosts}
        self.hosts = {name.strip("[]").lower() for name in names}
        self.any_host = "*" in options.allowed_hosts
        self.any_address = options.host in ("0.0.0.0", "::")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        finished = False
        body = _Body(receive)

        async def send_safely(message: Message) -> None:
            nonlocal finished
            finished = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    await body.drop()
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self.check(scope)
            await self.app(scope, body.receive, send_safely)
        except PageError as error:
            await error.response()(scope, body.receive, send_safely)
        except Exception:
            # The routes have answered already; what is cut short the server has to end.
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if not finished:
                raise

    def check(self, scope: Scope) -> None:
        """Refuse a request that no route should see.

        Raises:
            PageError: The refusal.
        """
        headers = Headers(scope=scope)
        if not self.is_own(host_name(headers.get("host", ""))):
            hint = "`uniadapter serve --allow-host NAME` allows it"
            raise PageError(421, "foreign_host", f"This server is not called by that name; {hint}.")
        origin = headers.get("origin")
        if origin is not None and not self.is_own(_origin_name(origin)):
            raise PageError(403, "foreign_origin", "Pages of other sites may not ask here.")
        # Browsers name no origin where a page elsewhere embeds a picture; links may lead here.
        embedded = headers.get("sec-fetch-mode") != "navigate"
        if headers.get("sec-fetch-site") == "cross-site" and embedded and not self.any_host:
            raise PageError(403, "foreign_origin", "Pages of other sites may not ask here.")
        address = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
        query = scope.get("query_string", b"")
        if len(address) > _LONGEST_ADDRESS or len(query) > 12 * self.max_text + _LONGEST_ADDRESS:
            raise PageError(414, "address_too_long", "The address is too long.")
        for part in (address, query):
            try:
                text = unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8")
            except UnicodeDecodeError as error:
                message = "The address is not UTF-8."
                raise PageError(400, "not_utf8", message) from error
            if "\0" in text:
                raise PageError(400, "null_character", "The address holds a null character.")
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        counts = Counter(name for name, _ in given)
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            raise PageError(422, "wrong_value", f"{twice[:80]}: is given more than once.")

    def is_own(self, name: str | None) -> bool:
        """Whether the server may be called by a name."""
        if name is None:
            return False
        return self.any_host or name in self.hosts or (self.any_address and _is_address(name))


class _Body:
    """What comes with a request.

    A client that is refused while it sends hears nothing but that the connection is gone: what it
    goes on to send is dropped first, up to a limit.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._whole = False

    async def receive(self) -> Message:
        """The next part."""
        message = await self._receive()
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read the rest."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drop(), _DROPPED_SECONDS)

    async def _drop(self) -> None:
        dropped = 0
        while not self._whole and dropped < _DROPPED_BYTES:
            dropped += len((await self.receive()).get("body", b""))


def _origin_name(origin: str) -> str | None:
    try:
        return host_name(urlsplit(origin).netloc)
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
