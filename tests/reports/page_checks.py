"""Parsing a page and holding it against what every page must keep to."""

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_safe(html: str) -> Page:
    page = Page(html)
    forbidden = {"script", "img", "iframe", "object", "embed", "link", "form", "input", "base"}
    assert not forbidden & set(page.elements)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "srcset", "action", "style", "xlink:href"}
        if name == "href":
            assert re.fullmatch(r"[A-Za-z0-9/._~%-]*", value) and not value.startswith("//")
    assert not re.search(r"@import|url\(", html)
    html.encode("utf-8")
    hidden = re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e]", html)
    assert hidden is None and not re.search("[\u2060-\u2069\ufeff]", html)
    return page
