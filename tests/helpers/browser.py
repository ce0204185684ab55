"""Opens a page in a headless Chromium and reports what a reader would see."""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-sync',
    '--disable-background-networking',
    '--disable-component-update',
    '--enable-logging=stderr',
    '--window-size=1400,1100',
    '--host-resolver-rules=MAP * ~NOTFOUND',
)
# The document reports its own state in its title, for --dump-dom.
LOOK = """<script>addEventListener('load', () => { parent.document.title = JSON.stringify({
    pictures: document.images.length, broken: [...document.images].filter(i => !i.naturalWidth).length,
    overflow: document.documentElement.scrollWidth - innerWidth, width: innerWidth}); });</script>"""


class Visit(NamedTuple):
    """What a reader sees: pictures shown and broken, pixels of overflow, console messages, requests made."""

    pictures: int
    broken: int
    overflow: int
    console: list[str]
    requests: list[str]


def visit(page: Path, tmp_path: Path, width: int = 1300) -> Visit:
    """Open a page in a window of the given width in pixels; a phone's is 390."""
    if CHROMIUM is None:
        pytest.skip('no Chromium found to open the report in')
    copy, log = tmp_path / 'visited.html', tmp_path / 'network.json'
    # In a frame, because a window is never narrower than 500 pixels.
    inner = html.escape(page.read_text() + LOOK)
    copy.write_text(
        f'<!DOCTYPE html><title></title><iframe style="width: {width}px; height: 1000px; border: 0" srcdoc="{inner}">'
    )
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f'--user-data-dir={tmp_path / "profile"}',
            f'--log-net-log={log}',
            '--dump-dom',
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    look = json.loads(done.stdout.split('<title>')[1].split('</title>')[0])
    assert look.pop('width') == width
    events = json.loads(log.read_text())
    started = events['constants']['logEventTypes']['URL_REQUEST_START_JOB']
    # Requests that the browser makes for itself have no origin.
    requests = [
        event['params']['url']
        for event in events['events']
        if event['type'] == started and event.get('params', {}).get('initiator', 'not an origin') != 'not an origin'
    ]
    console = [line for line in done.stderr.splitlines() if ':CONSOLE:' in line]
    return Visit(**look, console=console, requests=[url for url in requests if not url.startswith('data:')])
