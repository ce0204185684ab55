import base64
import re

import cv2
import numpy as np
import pytest
from helpers.browser import visit
from matplotlib.figure import Figure

from mmseg_erfnet.errors import DataError
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


def test_a_file_that_is_no_picture_is_never_inside(tmp_path):
    report = Report('a page')
    secret = tmp_path / 'secret.png'
    for content in (
        b'secret',
        b'',
        b'<svg>secret</svg>',
        b'%!PS-Adobe secret',
        b'\x89PNG\r\n\x1a\nsecret',
        b'\xff\xd8\xffsecret',
    ):
        secret.write_bytes(content)
        with pytest.raises(DataError):
            report.picture(secret, 'a file')
        with pytest.raises(DataError):
            report.panels([('a panel', content)])
    report.write(tmp_path / 'page.html')
    page = (tmp_path / 'page.html').read_text()
    assert '<img' not in page
    assert base64.b64encode(b'secret')[:6].decode() not in page


def test_a_part_that_fails_leaves_the_rest():
    report = Report('a page')
    report.section('Before')
    with report.part('The middle'):
        report.section('Middle')
        report.text('half of it')
        raise KeyError('classes')
    with report.part('The end'):
        raise DataError('end.json is damaged; remove it.')
    body = '\n'.join(report._body)
    assert report._headings == ['Before']
    assert 'half of it' not in body
    assert 'The middle is not shown: it is damaged' in body
    assert '<p>The end is not shown: end.json is damaged; remove it.</p>' in body


def test_names_that_cannot_be_encoded_are_shown_in_part(tmp_path):
    report = Report('frame_\udcff')
    report.write(tmp_path / 'page.html')
    assert '<title>frame_?</title>' in (tmp_path / 'page.html').read_text()


def test_panels_have_legends_and_captions(tmp_path):
    report = Report('a page')
    picture = np.zeros((4, 4, 3), np.uint8)
    report.panels([('in < put', picture), ('out', picture)], 'best: <x>', [('a & b', (255, 0, 16))])
    report.write(tmp_path / 'page.html')
    page = (tmp_path / 'page.html').read_text()
    assert page.count('<img') == 2
    assert '<h3>best: &lt;x&gt;</h3>' in page
    assert '<figcaption>in &lt; put</figcaption>' in page
    assert '<span style="background: #ff0010"></span>a &amp; b' in page


def test_opens_in_a_browser(page, tmp_path):
    assert visit(page, tmp_path)._replace(overflow=0) == (3, 0, 0, [], [])


def test_the_browser_would_tell(tmp_path):
    page = tmp_path / 'bad.html'
    wide = '<p style="width: 400px">wide'
    page.write_text(f'<!DOCTYPE html><title></title><img src="http://127.0.0.1:9/a.png"><script>nope()</script>{wide}')
    found = visit(page, tmp_path, 390)
    assert found.broken == 1
    assert found.overflow > 0
    assert found.requests == ['http://127.0.0.1:9/a.png']
    assert len(found.console) == 1
    assert 'nope is not defined' in found.console[0]
