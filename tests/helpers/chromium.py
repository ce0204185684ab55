"""A headless Chromium, driven through its DevTools protocol over two pipes, and a web server on the loopback."""

import base64
import contextlib
import functools
import json
import os
import select
import subprocess
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.browser import CHROMIUM

FLAGS = (
    '--headless',
    '--no-sandbox',
    '--no-first-run',
    '--disable-sync',
    '--disable-background-networking',
    '--disable-component-update',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--remote-debugging-pipe',
)
# With `gpu`, a WebGPU that the CPU computes.
GPU = {False: ('--disable-gpu',), True: ('--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader')}


class _Handler(SimpleHTTPRequestHandler):
    isolated = False

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header('Cross-Origin-Opener-Policy', 'same-origin')
            self.send_header('Cross-Origin-Embedder-Policy', 'require-corp')
        super().end_headers()

    def log_message(self, *arguments) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path, isolated: bool = False):
    """Serve a folder on the loopback; yield its address. ``isolated`` sends the headers that pages need for threads."""
    kind = type('Handler', (_Handler,), dict(isolated=isolated))
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(kind, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}/'
    finally:
        server.shutdown()
        server.server_close()


class Chromium:
    """A page in its own browser.

    Args:
        profile: A folder for the browser's files.
        size: Width and height of the window in CSS pixels.
        gpu: Whether pages find a WebGPU, which the CPU computes.

    Attributes:
        requests: Addresses that the page requested.
        complaints: Errors in the page's console.
    """

    def __init__(self, profile: Path, size: tuple[int, int] = (1300, 900), gpu: bool = False) -> None:
        if CHROMIUM is None:
            pytest.skip('no Chromium found')
        self.requests, self.complaints, self._number, self._buffer = [], [], 0, b''
        read_here, write_there = os.pipe()
        read_there, self._write = os.pipe()
        self._read = read_here

        def at_three_and_four() -> None:
            # Moved to other numbers first, because one of them may already be 3 or 4.
            first, second = os.dup(read_there), os.dup(write_there)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, *GPU[gpu], f'--user-data-dir={profile}', 'about:blank'],
            preexec_fn=at_three_and_four,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        target = self.call('Target.createTarget', session=None, url='about:blank')['targetId']
        self._session = None
        attached = self.call('Target.attachToTarget', session=None, targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Network', 'DOM'):
            self.call(f'{domain}.enable')
        self.resize(*size)

    def __enter__(self) -> 'Chromium':
        return self

    def __exit__(self, *error) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, session: str | None = '', timeout: float = 180, **parameters) -> dict:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = dict(id=self._number, method=method, params=parameters)
        session = self._session if session == '' else session
        if session:
            message['sessionId'] = session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        deadline = time.monotonic() + timeout
        while True:
            answer = self._message(deadline)
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']
            self._note(answer)

    def _message(self, deadline: float) -> dict:
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
            assert ready, 'Chromium did not answer in time'
            part = os.read(self._read, 1 << 16)
            assert part, 'Chromium ended'
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(text)

    def _note(self, event: dict) -> None:
        parameters = event.get('params', {})
        if event.get('method') == 'Network.requestWillBeSent':
            self.requests.append(parameters['request']['url'])
        elif event.get('method') == 'Runtime.exceptionThrown':
            self.complaints.append(parameters['exceptionDetails'].get('text', ''))
        elif event.get('method') == 'Runtime.consoleAPICalled' and parameters['type'] == 'error':
            self.complaints.append(str([argument.get('value') for argument in parameters['args']]))

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call('Page.navigate', url=url)

    def evaluate(self, expression: str) -> object:
        """Return the value of a JavaScript expression; promises are awaited."""
        found = self.call('Runtime.evaluate', expression=expression, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def wait_for(self, expression: str, timeout: float = 150) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(f'Boolean({expression})'):
            assert time.monotonic() < deadline, (expression, self.evaluate('document.body?.innerText'), self.complaints)
            time.sleep(0.1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an ``<input type=file>``."""
        root = self.call('DOM.getDocument')['root']['nodeId']
        node = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', nodeId=node, files=[str(path)])

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        """Set the size of the window in CSS pixels."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        found = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found['data']))
