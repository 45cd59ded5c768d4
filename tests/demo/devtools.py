"""Headless Chromium over its DevTools WebSocket (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from itertools import count
from pathlib import Path

from websockets.sync.client import connect

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
]


class Browser:
    """A browser with a new profile in ``profile``; a context manager that ends it."""

    def __init__(self, profile: Path, *flags: str):
        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        mark = "DevTools listening on "
        address = next(line for line in self._process.stderr if line.startswith(mark)).removeprefix(mark).strip()
        self._connection = contextlib.ExitStack()
        self._socket = self._connection.enter_context(connect(address, max_size=None))
        self._numbers = count(1)
        self.complaints = []
        """What pages with ``Log.enable`` had to complain about: blocked code, failed requests."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stderr.close()

    def call(self, method, session=None, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while (answer := json.loads(self._socket.recv(timeout=60))).get("id") != number:
            self.heard(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def heard(self, message):
        """Note what the browser says by itself."""
        if message["method"] == "Log.entryAdded":
            self.complaints.append(message["params"]["entry"]["text"])

    def frame(self, host):
        """The frame that shows a page of ``host``, a site of its own, once it is there."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for target in self.call("Target.getTargets")["targetInfos"]:
                if target["type"] == "iframe" and f"//{host}" in target["url"]:
                    session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                    return Page(self, session["sessionId"])
            time.sleep(0.05)
        raise AssertionError("there is no such frame")

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.call("Page.navigate", url=url)
        return page


class Page:
    """One tab of the browser."""

    def __init__(self, browser, session):
        self._browser = browser
        self._session = session

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def wait_for(self, expression):
        """The value of a JavaScript expression once it is true; it may throw until the page has loaded."""
        script = f"""new Promise((resolve) => {{
            const look = () => {{
                let value = false;
                try {{ value = {expression}; }} catch {{}}
                value ? resolve(value) : setTimeout(look, 20);
            }};
            look();
        }})"""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def value(self, expression):
        """The value of a JavaScript expression, or that of its promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def type_line(self, text):
        self.wait_for("document.getElementById('line').focus() || true")
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", text="\r", windowsVirtualKeyCode=13)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
