"""A page in headless Chromium, spoken to through a pipe: what a reader sees, clicks and could be told to fetch."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
PATIENCE = 60  # seconds that an answer may take on a busy machine


class Browser:
    """One page; ``complaints`` are what its console has said, ``fetched`` the addresses that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.complaints: list[str] = []
        self.fetched: list[str] = []
        self._folder, self._sent = folder, 0

    def __enter__(self):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        command = [CHROMIUM, *flags, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "-", *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread, self._session = b"", None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        self.send("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, **parameters: object) -> dict:
        """Ask for something, and wait for the answer."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(self._out, json.dumps({**message, **session}).encode() + b"\0")
        while (answer := self._next()).get("id") != self._sent:
            pass
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def show(self, page: Path, *, width: int = 1200, dark: bool = False) -> None:
        """Load a page and wait until all of it is there."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.send("Page.navigate", url=page.resolve().as_uri())
        ends = time.monotonic() + PATIENCE
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < ends, "the page does not load"
            time.sleep(0.02)

    def run(self, expression: str) -> object:
        """The value of an expression of JavaScript in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, file: Path) -> None:
        """A picture of the whole page, to be looked at."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(b64decode(shot["data"]))

    def _next(self) -> dict:
        while b"\0" not in self._unread:
            self._unread += os.read(self._in, 1 << 16) or self._ended()
        message, _, self._unread = self._unread.partition(b"\0")
        found = json.loads(message)
        self._note(found.get("method"), found.get("params"))
        return found

    def _note(self, method: str | None, told: dict) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.fetched.append(told["request"]["url"])

    def _ended(self) -> bytes:
        raise AssertionError(f"the browser ended with {self._process.wait()}")
