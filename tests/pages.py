"""Pages that were made, read as a browser would."""

import json
import re
from html.parser import HTMLParser

EVIL = "</script><script>window.hacked = 1</script><img src=x onerror=alert(1)>"
"""A name that would run in a page that does not escape it."""


class Reader(HTMLParser):
    """Tags with their attributes, cells of the tables by row, and the text outside scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.text = [], [], ""
        self.raw = self.cell = False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        self.raw = tag in ("script", "style")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.raw = False
        self.cell = self.cell and tag not in ("th", "td")

    def handle_data(self, data):
        if self.raw:
            return
        self.text += data
        if self.cell:
            self.rows[-1][-1] += data.strip()


def figures_of(page):
    """What the page's plots are drawn from."""
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])
