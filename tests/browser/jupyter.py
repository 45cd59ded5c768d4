"""Two JupyterLab servers, from pip in an environment of their own, and what a browser does with them."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
import venv

import pytest
from devtools import Browser
from wire import free_port

PATIENCE = 120
INSTALLED = os.environ.get("BALANCER_JUPYTERLAB")
"""The Python of an environment that has JupyterLab; without it, one is made, which takes minutes."""
OPTIONS = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--ServerApp.allow_remote_access=True",
    "--ServerApp.allow_origin=*",
    "--ServerApp.disable_check_xsrf=True",
    "--ServerApp.tornado_settings={'headers': {'Content-Security-Policy': 'frame-ancestors *'}}",
    "--IdentityProvider.token=",
    "--LabApp.news_url=",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
]
FRAMED = "--host-resolver-rules=MAP *.test 127.0.0.1"


def jupyterlab(folder):
    """The Python of an environment with JupyterLab."""
    if INSTALLED:
        return INSTALLED
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    if subprocess.run([python, "-m", "pip", "install", "-q", "jupyterlab"], check=False).returncode:
        pytest.skip("JupyterLab cannot be installed from pip")
    return str(python)


@contextlib.contextmanager
def server(python, folder):
    """A JupyterLab server whose files are in ``folder``; its port."""
    port, home = free_port(), folder / "home"
    home.mkdir(parents=True)
    files = folder / "files"
    files.mkdir()
    environment = {**os.environ, "HOME": str(home), "JUPYTER_PLATFORM_DIRS": "1", "SHELL": "/bin/sh"}
    command = [python, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.port={port}", f"--ServerApp.root_dir={files}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=files, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5):
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Profile(Browser):
    """A browser profile that notes every request that failed."""

    def __init__(self, folder):
        super().__init__(folder, FRAMED)
        self.failed = []

    def heard(self, message):
        super().heard(message)
        parameters = message.get("params", {})
        match message["method"]:
            case "Network.responseReceived" if parameters["response"]["status"] >= 400:
                self.failed.append(f"{parameters['response']['status']} {parameters['response']['url']}")
            case "Network.loadingFailed" if not parameters.get("canceled"):
                self.failed.append(f"{parameters['errorText']} {parameters.get('type')}")
            case "Network.webSocketFrameError":
                self.failed.append(parameters["errorMessage"])

    def lab(self, url):
        """A tab with JupyterLab, once it has loaded."""
        tab = self.open("about:blank")
        tab.call("Network.enable")
        tab.call("Page.navigate", url=url)
        tab.wait_for("document.querySelector('#jp-top-panel') && !!document.querySelector('.jp-LauncherCard')")
        return tab


TERMINAL = """(async () => {{
    const made = await (await fetch('/api/terminals', {{method: 'POST'}})).json();
    const socket = new WebSocket('wss://' + location.host + '/terminals/websocket/' + made.name);
    return await new Promise((resolve, reject) => {{
        let shown = '';
        socket.onerror = () => reject('refused');
        socket.onclose = () => reject('closed');
        socket.onopen = () => socket.send(JSON.stringify(['stdin', {line} + '\\r']));
        socket.onmessage = (event) => {{
            shown += JSON.parse(event.data)[1] || '';
            if (shown.includes('done-42')) {{ socket.onclose = null; socket.close(); resolve(true); }}
        }};
    }});
}})()"""
KERNEL = """(async () => {{
    const kernel = await (await fetch('/api/kernels', {{
        method: 'POST', body: JSON.stringify({{name: 'python3'}})}})).json();
    const socket = new WebSocket('wss://' + location.host + '/api/kernels/' + kernel.id + '/channels?session_id=s');
    return await new Promise((resolve, reject) => {{
        socket.onerror = () => reject('refused');
        socket.onopen = () => socket.send(JSON.stringify({{
            header: {{msg_id: 'm', msg_type: 'execute_request', session: 's', username: 'u', version: '5.3'}},
            parent_header: {{}}, metadata: {{}}, channel: 'shell', buffers: [],
            content: {{code: {code}, silent: false, store_history: false, allow_stdin: false}}}}));
        socket.onmessage = (event) => {{
            const message = JSON.parse(event.data);
            if (message.msg_type == 'execute_reply') {{ socket.close(); resolve(message.content.status == 'ok'); }}
        }};
    }});
}})()"""


def runs_terminal(tab, name):
    """Have a terminal write the file ``name`` into the folder that it is in."""
    line = json.dumps(f"echo terminal > {name}; echo done-$((6*7))")
    assert tab.value(TERMINAL.format(line=line)) is True


def runs_kernel(tab, name):
    """Have a kernel write the file ``name``."""
    assert tab.value(KERNEL.format(code=json.dumps(f"open({name!r}, 'w').write('kernel')"))) is True
