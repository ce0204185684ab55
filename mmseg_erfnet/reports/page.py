"""Reports: a single HTML file with embedded pictures, which opens from disk and needs no network."""

import base64
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from mmseg_erfnet.errors import DataError, UserError
from mmseg_erfnet.files import check_targets, write_bytes
from mmseg_erfnet.images import check_image
from mmseg_erfnet.visualization.charts import png

# By the first bytes of a file. Files of any other kind are never put into a page, whatever their suffix.
KINDS = {b'\x89PNG\r\n\x1a\n': 'png', b'\xff\xd8\xff': 'jpeg', b'GIF87a': 'gif', b'GIF89a': 'gif'}
PHONE = '40rem'  # below this width, the layout is that for phones
STYLE = """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem; overflow-wrap: break-word; }
h1 { margin-bottom: 0; line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid #ccc; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; } a { color: #0b57a4; }
figure { margin: 1rem 0; } figcaption { color: #444; } img { max-width: 100%; height: auto; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--panel)), 1fr)); gap: 1rem; }
.panels figure { margin: 0; } .panels img { display: block; width: 100%; outline: 1px solid #ddd; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .5rem 0; padding: 0; list-style: none; }
.legend span { display: inline-block; width: .9em; height: .9em; margin-right: .4em; border: 1px solid #444;
               vertical-align: -.1em; }
.scroll { overflow-x: auto; margin: 1rem 0; } .chart img { display: block; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; }
th { text-align: left; vertical-align: top; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: flex; flex-wrap: wrap; gap: 1rem; } dl div { border: 1px solid #ccc; padding: .5rem 1rem; }
dt { color: #444; } dd { margin: 0; font-size: 1.8rem; font-weight: 600; }
pre { overflow-x: auto; background: #f4f4f4; padding: 1rem; font-size: .85rem; } summary { cursor: pointer; }
@media (max-width: PHONE) {
  body { margin-top: 1rem; } h2 { margin-top: 2rem; } th, td { padding: .2rem .5rem; }
  dl div { flex: 1 1 40%; padding: .4rem .7rem; } dd { font-size: 1.4rem; }
  .chart img { max-width: none; } .chart.fits img { max-width: 100%; }
}
""".replace('PHONE', PHONE)
Picture = Figure | np.ndarray | bytes | Path
GENERATOR = '<meta name="generator" content="mmseg_erfnet">'
HEAD_BYTES = 8192  # of a page, which contain the generator or, in pages of earlier versions, the subtitle


class Report:
    """An HTML page that is built from top to bottom. All text is escaped.

    Args:
        title: The page's heading.
        subtitle: A line below it.
    """

    def __init__(self, title: str, subtitle: str = '') -> None:
        self.title, self.subtitle = title, subtitle
        self._headings: list[str] = []
        self._body: list[str] = []

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Drop what is added inside if its source is damaged, and add a sentence about that instead.

        Args:
            what: The subject of that sentence.
        """
        headings, body = len(self._headings), len(self._body)
        try:
            yield
        # A damaged or malicious file can cause any error, in parsing or in drawing.
        except Exception as error:
            del self._headings[headings:], self._body[body:]
            reason = str(error) if isinstance(error, UserError) else f'it is damaged ({type(error).__name__}: {error}).'
            self.text(f'{what} is not shown: {reason[:500]}')

    def section(self, heading: str) -> None:
        """Begin a section; the navigation at the top links to it."""
        self._headings.append(heading)
        self._body.append(f'<h2 id="{_anchor(heading)}">{html.escape(heading)}</h2>')

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f'<p>{html.escape(text)}</p>')

    def highlights(self, values: dict[str, str]) -> None:
        """Add metrics in large type, each under its name."""
        items = ''.join(
            f'<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>' for name, value in values.items()
        )
        self._body.append(f'<dl>{items}</dl>')

    def table(self, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Add a table; each row begins with its name. A table wider than the page has its own scroll bar.

        Args:
            rows: Strings, or floats, which are shown with two decimals.
            header: Names of the columns.
        """
        head = ''.join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
        body = ''.join(
            f'<tr><th scope="row">{html.escape(str(row[0]))}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in rows
        )
        self._body.append(
            f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def picture(self, picture: Picture, caption: str, narrow: Picture | None = None) -> None:
        """Add a picture.

        Args:
            picture: A chart; a BGR picture, uint8 (H, W, 3); or a PNG, JPEG or GIF, as path or content. On a phone, a
                chart keeps its size and has its own scroll bar.
            caption: The caption.
            narrow: A version for phones.

        Raises:
            DataError: A file is not an intact PNG, JPEG or GIF.
        """
        kind = ''
        image = _image(picture, caption)
        if isinstance(picture, Figure):
            kind = ' class="scroll chart"' if narrow is None else ' class="scroll chart fits"'
        if narrow is not None:
            source = f'<source media="(max-width: {PHONE})" srcset="{_data(narrow)}">'
            image = f'<picture>{source}{image}</picture>'
        self._body.append(f'<figure><div{kind}>{image}</div><figcaption>{html.escape(caption)}</figcaption></figure>')

    def panels(
        self,
        pictures: Iterable[tuple[str, Picture]],
        heading: str = '',
        legend: Iterable[tuple[str, Sequence[int]]] = (),
        width: float = 16,
    ) -> None:
        """Add pictures side by side; they stack if the page is too narrow.

        Args:
            pictures: Captions and pictures, as for :meth:`picture`.
            heading: A line above them.
            legend: Names of classes and their RGB colours.
            width: The smallest width of a picture in rem, 16 pixels each.

        Raises:
            DataError: As :meth:`picture`.
        """
        cells = ''.join(
            f'<figure>{_image(picture, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>'
            for caption, picture in pictures
        )
        chips = ''.join(
            f'<li><span style="background: #{_hex(colour)}"></span>{html.escape(str(name))}</li>'
            for name, colour in legend
        )
        self._body.append(
            (f'<h3>{html.escape(heading)}</h3>' if heading else '')
            + f'<div class="panels" style="--panel: {width:g}rem">{cells}</div>'
            + (f'<ul class="legend">{chips}</ul>' if chips else '')
        )

    def listing(self, summary: str, text: str) -> None:
        """Add a monospaced text that is collapsed under its summary."""
        self._body.append(f'<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>')

    def write(self, path: Path) -> None:
        """Write the page atomically, so that a browser never loads half of it.

        Raises:
            UsageError: A file of that name exists that is not a report.
            StorageError: It cannot be written.
        """
        check_targets([path], ours=is_report)
        title = html.escape(self.title)
        links = ''.join(f'<a href="#{_anchor(heading)}">{html.escape(heading)}</a>' for heading in self._headings)
        body = '\n'.join(self._body)
        page = (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{GENERATOR}\n'
            # Without an icon, browsers would request one from the server.
            '<link rel="icon" href="data:,">\n'
            f'<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{html.escape(self.subtitle)}</p>\n'
            f'<nav>{links}</nav>\n{body}\n</body>\n</html>\n'
        )
        # A file name that is not valid UTF-8 contains surrogates that cannot be encoded.
        write_bytes(path, page.encode(errors='replace'))


def is_report(path: Path) -> bool:
    """Return whether a file is a page that this project wrote, or something that no page can replace."""
    if not path.is_file():
        return path.is_dir()
    with path.open('rb') as file:
        head = file.read(HEAD_BYTES)
    return not head or (head.lower().startswith(b'<!doctype html>') and b'mmseg_erfnet' in head)


def jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    """Encode a BGR picture, uint8 (H, W, 3)."""
    return cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def picture_kind(data: bytes, path: str | Path) -> str:
    """Return the kind of a picture by its content: 'png', 'jpeg' or 'gif'.

    Args:
        data: The file's content.
        path: Its name, for the message.

    Raises:
        DataError: It is of another kind, or damaged.
    """
    kind = next((kind for start, kind in KINDS.items() if data.startswith(start)), None)
    if kind is None:
        raise DataError(f'{path} is not a PNG, JPEG or GIF; remove it, or run the test again.')
    if kind == 'gif':
        if not data.endswith(b';'):
            raise DataError(f'{path} is truncated; remove it, or run the training again.')
    else:
        check_image(data, path)
    return kind


def _data(picture: Picture) -> str:
    """Return a picture as a data URL."""
    if isinstance(picture, Figure):
        data, kind = png(picture), 'png'
    elif isinstance(picture, np.ndarray):
        data, kind = jpeg(picture), 'jpeg'
    else:
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        kind = picture_kind(data, 'a picture' if isinstance(picture, bytes) else picture)
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def _image(picture: Picture, caption: str) -> str:
    return f'<img alt="{html.escape(caption)}" src="{_data(picture)}">'


def _hex(colour: Sequence[int]) -> str:
    return ''.join(f'{min(max(int(value), 0), 255):02x}' for value in (*colour, 0, 0, 0)[:3])


def _anchor(heading: str) -> str:
    return re.sub(r'\W+', '-', heading.lower()).strip('-')


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{"" if np.isnan(value) else f"{value:.2f}"}</td>'
    kind = ' class="number"' if isinstance(value, int) else ''
    return f'<td{kind}>{html.escape(str(value))}</td>'
