"""Reading a page as a person does: its words, and what a browser would run or fetch."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """words: all text outside the style sheet. tags: names of every element. rows: of tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.style = ""
        self.rows: list[list[str]] = []
        self._words: list[str] = []
        self._inside: list[str] = []
        self.feed(html)
        self.close()

    @property
    def words(self) -> str:
        """The text, single spaces between words."""
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in ("meta", "br"):
            self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" in self._inside:
            self.style += data
            return
        self._words.append(data)
        if "td" in self._inside or "th" in self._inside:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())
