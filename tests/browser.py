"""A headless Chromium, spoken to by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
#: Keys as the protocol writes them.
KEYS = {
    **{"Escape": "\ue00c", "Enter": "\ue007", "Tab": "\ue004"},
    **{"Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"},
}


class Browser:
    """One window of a browser.

    Args:
        address: Of its session at the driver.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, path: str, method: str = "POST", **body: Any) -> Any:
        """Send a command."""
        return _call(f"{self.address}{path}", method, body)

    def open(self, address: str) -> None:
        """Open a page."""
        self.call("/url", url=address)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page."""
        return self.call("/execute/sync", script=script, args=list(arguments))

    def until(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true in the page; gives its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(f"return {expression}")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} stays {value!r}")
            time.sleep(0.05)
        return value

    def press(self, *keys: str) -> None:
        """Press keys, or type texts."""
        actions = []
        for text in keys:
            for key in [KEYS[text]] if text in KEYS else text:
                actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("/actions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def find(self, selector: str) -> str:
        """The address of an element's commands."""
        found = self.call("/element", using="css selector", value=selector)
        return f"/element/{found[_ELEMENT]}"

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.call(f"{self.find(selector)}/click")

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a field."""
        self.call(f"{self.find(selector)}/value", text=str(path))

    def resize(self, width: int, height: int, phone: bool = False, scale: float = 1.0) -> None:
        """Give the page a size, that of a phone if wished."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        self.tools("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, **features: str) -> None:
        """Set what the user prefers, such as ``prefers-color-scheme``."""
        pairs = [{"name": n.replace("_", "-"), "value": value} for n, value in features.items()]
        self.tools("Emulation.setEmulatedMedia", features=pairs)

    def tools(self, command: str, **parameters: Any) -> Any:
        """Send a command of Chromium's developer tools."""
        return self.call("/goog/cdp/execute", cmd=command, params=parameters)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("/screenshot", "GET")))

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        return [entry["message"] for entry in self.call("/se/log", type="browser")]


def _call(address: str, method: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode() if method == "POST" else None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from error


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that ends with the block."""
    assert DRIVER
    assert CHROMIUM
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                found[1]
                for line in driver.stdout
                if (found := re.search(r"successfully on port (\d+)", line))
            )
            options = {"args": _ARGUMENTS, "binary": CHROMIUM}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            address = f"http://127.0.0.1:{port}/session"
            session = _call(address, "POST", {"capabilities": {"alwaysMatch": wanted}})
            browser = Browser(f"{address}/{session['sessionId']}")
            try:
                yield browser
            finally:
                browser.call("", "DELETE")
        finally:
            driver.terminate()
