import base64
import re

import cv2
import numpy as np
import pytest
from helpers.browser import visit
from matplotlib.figure import Figure

from mmseg_erfnet.reports.page import Report


@pytest.fixture
def page(tmp_path):
    report = Report('A <title> & more')
    report.section('Some metrics')
    report.highlights({'mIoU': '12.34 %'})
    report.text('1 < 2')
    report.table([('row', 1.234, float('nan'), 7, 'text')], ('name', 'a', 'b', 'c', 'd'))
    report.picture(np.full((6, 8, 3), (0, 0, 255), np.uint8), 'red')
    report.picture(Figure(figsize=(1, 1)), 'a chart')
    cv2.imwrite(str(tmp_path / 'file.png'), np.zeros((2, 3, 3), np.uint8))
    report.picture(tmp_path / 'file.png', 'a file')
    report.listing('config', 'lr = 1\nif a < b:')
    report.write(tmp_path / 'deep' / 'report.html')
    return tmp_path / 'deep' / 'report.html'


def test_texts_are_escaped_and_numbers_rounded(page):
    text = page.read_text()
    assert '<h1>A &lt;title&gt; &amp; more</h1>' in text
    assert '<p>1 &lt; 2</p>' in text
    assert '<td class="number">1.23</td><td class="number"></td><td class="number">7</td><td>text</td>' in text
    assert 'if a &lt; b:</pre>' in text


def test_navigation_leads_to_the_sections(page):
    text = page.read_text()
    assert re.findall(r'href="#([^"]+)"', text) == re.findall(r'<h2 id="([^"]+)"', text) == ['some-metrics']


def test_pictures_are_inside(page):
    sources = re.findall(r'<img alt="[^"]*" src="data:image/\w+;base64,([^"]+)"', page.read_text())
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(source), np.uint8), cv2.IMREAD_COLOR) for source in sources]
    assert [picture.shape for picture in pictures] == [(6, 8, 3), (110, 110, 3), (2, 3, 3)]
    assert pictures[0][0, 0, 2] > 250


def test_opens_in_a_browser(page, tmp_path):
    assert visit(page, tmp_path)._replace(overflow=0) == (3, 0, 0, [], [])


def test_the_browser_would_tell(tmp_path):
    page = tmp_path / 'bad.html'
    page.write_text('<!DOCTYPE html><title></title><img src="http://127.0.0.1:9/a.png"><script>nope()</script>')
    found = visit(page, tmp_path)
    assert found.broken == 1
    assert found.requests == ['http://127.0.0.1:9/a.png']
    assert len(found.console) == 1
    assert 'nope is not defined' in found.console[0]
