"""Reports: one HTML file with its pictures inside, which opens from disk and asks no network for anything."""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.visualization.charts import png

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; border-bottom: 1px solid #ccc; }
nav a { margin-right: 1rem; } a { color: #0b57a4; }
figure { margin: 1rem 0; } figcaption { color: #444; } img { max-width: 100%; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; }
th { text-align: left; vertical-align: top; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: flex; flex-wrap: wrap; gap: 1rem; } dl div { border: 1px solid #ccc; padding: .5rem 1rem; }
dt { color: #444; } dd { margin: 0; font-size: 1.8rem; font-weight: 600; }
pre { overflow-x: auto; background: #f4f4f4; padding: 1rem; font-size: .85rem; } summary { cursor: pointer; }
"""


class Report:
    """An HTML page that grows from top to bottom.

    All text is escaped.

    Args:
        title: The page's heading.
        subtitle: A line below it.
    """

    def __init__(self, title: str, subtitle: str = '') -> None:
        self.title, self.subtitle = title, subtitle
        self._headings: list[str] = []
        self._body: list[str] = []

    def section(self, heading: str) -> None:
        """Begin a section; the navigation at the top leads to it."""
        self._headings.append(heading)
        self._body.append(f'<h2 id="{_anchor(heading)}">{html.escape(heading)}</h2>')

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f'<p>{html.escape(text)}</p>')

    def highlights(self, values: dict[str, str]) -> None:
        """Add metrics, large, each under its name."""
        items = ''.join(
            f'<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>' for name, value in values.items()
        )
        self._body.append(f'<dl>{items}</dl>')

    def table(self, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Add a table whose rows begin with their names.

        Args:
            rows: Texts, or floats, which are shown with two decimals.
            header: Names of the columns.
        """
        head = ''.join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
        body = ''.join(
            f'<tr><th scope="row">{html.escape(str(row[0]))}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in rows
        )
        self._body.append(f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')

    def picture(self, picture: Figure | np.ndarray | Path, caption: str) -> None:
        """Add a picture.

        Args:
            picture: A chart; a BGR picture, uint8 (H, W, 3); or a file, PNG or JPEG.
            caption: What there is to see.
        """
        kind = 'png'
        if isinstance(picture, Figure):
            data = png(picture)
        elif isinstance(picture, np.ndarray):
            data = jpeg(picture)
            kind = 'jpeg'
        else:
            data = picture.read_bytes()
            kind = 'png' if picture.suffix == '.png' else 'jpeg'
        caption, data = html.escape(caption), base64.b64encode(data).decode()
        self._body.append(
            f'<figure><img alt="{caption}" src="data:image/{kind};base64,{data}">'
            f'<figcaption>{caption}</figcaption></figure>'
        )

    def listing(self, summary: str, text: str) -> None:
        """Add a text of fixed width that is folded away under its summary."""
        self._body.append(f'<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>')

    def write(self, path: Path) -> None:
        """Write the page, all at once: whoever has an older one open never loads half of this one."""
        title = html.escape(self.title)
        links = ''.join(f'<a href="#{_anchor(heading)}">{html.escape(heading)}</a>' for heading in self._headings)
        body = '\n'.join(self._body)
        page = (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            # Without an icon of its own a page from a server would be asked for one.
            '<link rel="icon" href="data:,">\n'
            f'<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{html.escape(self.subtitle)}</p>\n'
            f'<nav>{links}</nav>\n{body}\n</body>\n</html>\n'
        )
        write_bytes(path, page.encode())


def jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    """Encode a BGR picture, uint8 (H, W, 3)."""
    return cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _anchor(heading: str) -> str:
    return re.sub(r'\W+', '-', heading.lower()).strip('-')


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{"" if np.isnan(value) else f"{value:.2f}"}</td>'
    kind = ' class="number"' if isinstance(value, int) else ''
    return f'<td{kind}>{html.escape(str(value))}</td>'
