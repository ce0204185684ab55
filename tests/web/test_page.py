"""The page in a real browser: its labels are Python's, whatever it runs on, and nothing comes from elsewhere."""

import base64
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.browser import CHROMIUM
from helpers.chromium import Chromium, serving
from helpers.small_models import exported

from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.video import write_clip
from mmseg_erfnet.web.runtime import cache_path, is_pinned
from mmseg_erfnet.web.site import build_site

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
# Another model, and a folder for screenshots: for whoever wants to look at the page.
MODEL, SCREENSHOTS = (os.environ.get(f'WEB_TEST_{name}') for name in ('MODEL', 'SCREENSHOTS'))
READY = 'document.getElementById("status")?.textContent.startsWith("Ready")'
DONE = '/pixels\\.$/.test(document.getElementById("status")?.textContent)'
PIXELS = """(() => {
  const canvas = document.getElementById('%s');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let text = '';
  for (let index = 0; index < data.length; index += 4)
    text += String.fromCharCode(data[index], data[index + 1], data[index + 2]);
  return [canvas.width, canvas.height, btoa(text)];
})()"""


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    if CHROMIUM is None:
        pytest.skip('no Chromium found')
    if not (cache_path().is_file() and is_pinned(cache_path().read_bytes())):
        pytest.skip(f'no ONNX Runtime Web in {cache_path()}: `mmseg-erfnet web MODEL --out D` fetches it')
    return build_site(model(), tmp_path_factory.mktemp('web') / 'site').parent


def model() -> Path:
    return Path(MODEL) if MODEL else exported() / 'erfnet_camvid11.onnx'


@pytest.fixture(scope='module')
def street(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('street') / 'street.png'
    cv2.imwrite(str(path), render((360, 480) if MODEL else (72, 96), seed=3, index=0)[0][..., ::-1])
    return path


def canvas(page: Chromium, name: str) -> np.ndarray:
    """The colours on a canvas, RGB, uint8 (H, W, 3)."""
    width, height, text = page.evaluate(PIXELS % name)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 3)


def painted(frame: np.ndarray) -> np.ndarray:
    """The colours, RGB, that Python gives the classes of a frame, BGR."""
    predictor = Predictor(model(), threads=1)
    return np.array(predictor.palette, np.uint8)[predictor.predict(frame)]


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and (found == expected).all(-1).mean() > 0.9999


@pytest.mark.parametrize('isolated', [False, True])
def test_labels_on_the_canvas_are_those_of_python(isolated, site, street, tmp_path):
    with serving(site, isolated) as address, Chromium(tmp_path / 'profile') as page:
        page.open(address)
        page.wait_for(READY)
        assert page.evaluate('self.crossOriginIsolated') == isolated
        page.choose_file('#file', street)
        page.wait_for(DONE)
        assert same(canvas(page, 'overlay'), painted(cv2.imread(str(street))))
        assert page.evaluate('document.getElementById("backend").textContent').startswith('CPU, ')
        assert page.evaluate('parseFloat(document.getElementById("latency").textContent)') > 0
        assert page.complaints == []
        assert all(url.startswith((address, 'data:', 'blob:')) for url in page.requests)
        if SCREENSHOTS and not isolated:
            page.screenshot(Path(SCREENSHOTS) / 'desktop.png')
            page.resize(390, 844, phone=True)
            page.screenshot(Path(SCREENSHOTS) / 'phone.png')


def test_the_video_the_camera_and_what_follows_them(site, street, tmp_path):
    clip = tmp_path / 'street.webm'
    write_clip(clip, [np.roll(cv2.imread(str(street)), shift, 1) for shift in range(0, 40, 4)], rate=5)
    with serving(site) as address, Chromium(tmp_path / 'profile') as page:
        page.open(address)
        page.wait_for(READY)
        page.choose_file('#file', clip)
        page.wait_for('/frames/.test(document.getElementById("throughput").textContent)')
        page.wait_for('/is over/.test(document.getElementById("status").textContent)')
        assert page.evaluate('document.getElementById("pause").disabled')
        assert same(canvas(page, 'overlay'), painted(canvas(page, 'frame')[..., ::-1]))
        page.evaluate('document.getElementById("camera").click()')
        page.wait_for('document.getElementById("status").textContent === "Segmenting the camera image."')
        page.wait_for('document.getElementById("frame").width === 640')
        # A picture that is opened while the camera runs replaces it.
        page.choose_file('#file', street)
        page.wait_for(DONE)
        assert page.evaluate('document.getElementById("pause").disabled')
        assert same(canvas(page, 'overlay'), painted(cv2.imread(str(street))))
        (tmp_path / 'broken.webm').write_bytes(clip.read_bytes()[:200])
        page.choose_file('#file', tmp_path / 'broken.webm')
        page.wait_for('/cannot play broken.webm/.test(document.querySelector("#status.error")?.textContent)')
        assert page.complaints == []


@pytest.mark.slow  # the CPU computes what a GPU would
def test_webgpu_gives_the_same_labels(site, street, tmp_path):
    with serving(site) as address, Chromium(tmp_path / 'profile', gpu=True) as page:
        page.open(address)
        page.wait_for(READY)
        page.choose_file('#file', street)
        page.wait_for(DONE)
        assert page.evaluate('document.getElementById("backend").textContent') == 'WebGPU'
        assert same(canvas(page, 'overlay'), painted(cv2.imread(str(street))))
        assert page.complaints == []


def test_a_page_opened_as_a_file_says_how_to_open_it(site, tmp_path):
    with Chromium(tmp_path / 'profile') as page:
        page.open((site / 'index.html').as_uri())
        page.wait_for('/served over HTTP/.test(document.querySelector("#status.error")?.textContent)')


def test_on_a_phone_nothing_is_wider_than_the_screen(site, street, tmp_path):
    with serving(site) as address, Chromium(tmp_path / 'profile', size=(390, 844)) as page:
        page.resize(390, 844, phone=True)
        page.open(address)
        page.wait_for(READY)
        page.choose_file('#file', street)
        page.wait_for(DONE)
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
        for element in ('#open', '#camera', '#pause', '#opacity'):
            # A finger needs 44 pixels.
            assert page.evaluate(f'document.querySelector("{element}").getBoundingClientRect().height') >= 44


def test_keys_and_the_camera_work_and_errors_are_sentences(site, tmp_path):
    (tmp_path / 'notes.png').write_text('no picture')
    with serving(site) as address, Chromium(tmp_path / 'profile') as page:
        page.open(address)
        page.wait_for(READY)
        page.choose_file('#file', tmp_path / 'notes.png')
        page.wait_for('document.querySelector("#status.error")')
        said = page.evaluate('document.getElementById("status").textContent')
        assert said == 'notes.png is not a picture or video that this browser can read: choose another file.'
        page.evaluate('document.getElementById("opacity").focus()')
        page.press('ArrowRight', 39)
        assert page.evaluate('document.getElementById("opacity-value").textContent') == '61 %'
        assert page.evaluate('document.getElementById("overlay").style.opacity') == '0.61'
        page.evaluate('document.getElementById("camera").click()')
        page.wait_for('/frames/.test(document.getElementById("throughput").textContent)')
        assert page.evaluate('document.getElementById("status").className') == ''
        page.evaluate('document.getElementById("pause").click()')
        assert page.evaluate('document.getElementById("pause").textContent') == 'Resume'


def test_a_damaged_or_missing_model_is_said(site, tmp_path):
    import shutil

    copy = tmp_path / 'site'
    shutil.copytree(site, copy)
    content = bytearray((copy / 'model.onnx').read_bytes())
    content[1000] ^= 1
    (copy / 'model.onnx').write_bytes(content)
    with serving(copy) as address, Chromium(tmp_path / 'profile') as page:
        page.open(address)
        page.wait_for('document.querySelector("#status.error")')
        said = page.evaluate('document.getElementById("status").textContent')
        assert said == 'model.onnx is damaged: copy it to the server again.'
        (copy / 'model.onnx').unlink()
        page.open(address + '?again')
        page.wait_for('/status 404/.test(document.querySelector("#status.error")?.textContent)')
        assert page.evaluate('document.getElementById("open").disabled')


def test_the_page_knows_the_model(site):
    description = json.loads((site / 'model.json').read_text())
    assert description['classes'] == Predictor(model(), threads=1).classes
    assert description['bytes'] == (site / 'model.onnx').stat().st_size
