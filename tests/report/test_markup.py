"""Nothing can be left unescaped by forgetting to escape it."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from loadgen.report.markup import Markup, coordinate, element, escape, join


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(alphabet=st.characters(exclude_characters="\r\0", exclude_categories=["Cs"])))
def test_text_and_attributes_come_out_as_they_went_in(text: str) -> None:
    reader = Reader()
    reader.feed(element("p", text, title=text))
    reader.close()
    assert reader.tags == [("p", {"title": text})]
    assert reader.text == text


def test_only_markup_is_trusted() -> None:
    assert element("p", element("b", "<i>")) == "<p><b>&lt;i&gt;</b></p>"
    assert element("p", "" + element("b")) == "<p>&lt;b&gt;&lt;/b&gt;</p>"  # what is pasted together is text again
    assert join(["<", None, Markup("<br/>")]) == "&lt;<br/>"


def test_a_lone_surrogate_does_not_break_the_file() -> None:
    assert escape("a\ud800b").encode() == b"a?b"


def test_attributes_are_spelled_as_html_spells_them() -> None:
    made = element("p", class_="a b", data_tip="x", hidden=True, id=None, title=False, x=12.04, n=3)
    assert made == '<p class="a b" data-tip="x" hidden x="12" n="3"></p>'


def test_coordinates_are_short() -> None:
    assert [coordinate(value) for value in (1, 1.04, 1.25, -0.01, 100.0)] == ["1", "1", "1.2", "0", "100"]
