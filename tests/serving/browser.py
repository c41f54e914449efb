"""A headless Chromium, driven through its DevTools protocol over a pipe: no driver, no package, no network."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page of a browser that is started for it. ``problems`` are its errors, warnings and violated policies."""

    def __init__(self, folder):
        (theirs, requests), (replies, answers) = (map(_above_nine, os.pipe()) for _ in range(2))
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        start = f'exec "$0" "$@" 3<&{theirs} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", start, CHROMIUM, *flags, f"--user-data-dir={folder}"],
            pass_fds=(theirs, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        self._requests, self._replies = requests, replies
        self._number, self._session, self._rest = 0, None, b""
        self.problems = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._requests)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        os.close(self._replies)

    def send(self, method, **parameters):
        """A command, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while True:
            for reply in self._messages(until):
                if reply.get("id") == self._number:
                    assert "error" not in reply, reply
                    return reply["result"]
                if reply.get("method") == "Log.entryAdded":
                    self.problems.append(reply["params"]["entry"]["text"])
                elif reply.get("method") == "Runtime.exceptionThrown":
                    self.problems.append(str(reply["params"]["exceptionDetails"]))

    def _messages(self, until):
        assert select.select([self._replies], [], [], max(0, until - time.monotonic()))[0], "the browser is silent"
        block = os.read(self._replies, 1 << 20)
        assert block, "the browser has ended"
        *whole, self._rest = (self._rest + block).split(b"\0")
        return map(json.loads, whole)

    def run(self, script):
        """The value of an expression of JavaScript in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script):
        """Until the expression is true."""
        until = time.monotonic() + 30
        while not self.run(script):
            assert time.monotonic() < until, (script, self.run("document.body.innerText"), self.problems)
            time.sleep(0.02)

    def open(self, url):
        """Go to an address, until it is loaded."""
        self.run("document.left = true")
        self.send("Page.navigate", url=url)
        self.wait_for("!document.left && document.readyState === 'complete'")

    def type(self, text):
        """Type into the field that has the focus when a page is opened, and press Enter."""
        self.wait_for("document.hasFocus() && document.activeElement.tagName === 'INPUT'")
        self.send("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    def look(self, width, height, dark=False):
        """Of such a size, and with such a scheme of colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path):
        """A PNG of the whole page."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


def _above_nine(descriptor):
    """The same pipe under a number that the shell does not redirect to."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
