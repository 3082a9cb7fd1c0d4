"""TextGrids: both formats, other encodings, and files that are none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import refusal
from tests.sources_made import text_grid

from diffusiontalker.corpus import textgrid
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError

SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
3
"TextTier"
"clicks"
0
2.5
1
1.25
"here"
"IntervalTier"
"ann - words"
0
2.5
3
0
1e-1
""
0.5
1
"say ""hi""\"
1
2.5
"42"
"IntervalTier"
"ann - phones"
0
2.5
2
0
1
"EY1"
1
2.5
"spn"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_long_format(encoding: str) -> None:
    found = textgrid.tiers(text_grid(4.0).replace("world", "wörld").encode(encoding), "a.TextGrid")
    assert textgrid.words(found) == (
        Span(0, 2, "hello"), Span(2, 3, "wide"), Span(3, 4, "wörld"),
    )  # fmt: skip
    assert textgrid.phones(found) == (Span(0, 2, "ʌ"), Span(2, 3, ""), Span(3, 4, "w"))


def test_the_short_format_with_a_speakers_name() -> None:
    found = textgrid.tiers(SHORT.encode(), "a.TextGrid")
    assert textgrid.words(found) == (Span(0.5, 1, 'say "hi"'), Span(1, 2.5, "42"))
    assert textgrid.phones(found) == (Span(0, 1, "eɪ"), Span(1, 2.5, "spn"))


def test_a_grid_without_such_tiers() -> None:
    found = textgrid.tiers(SHORT.replace("ann", "x").replace("words", "text").encode(), "a")
    assert textgrid.words(found) == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\xff\xfe\x00", b"\x80abc", SHORT[:-20].encode(),
     SHORT.replace("\n3\n", "\n99999999999\n").encode()],
)  # fmt: skip
def test_what_is_none(content: bytes) -> None:
    assert "a.TextGrid: " in refusal(lambda: textgrid.tiers(content, "a.TextGrid"))


@given(text=st.text(alphabet='"ooTextFile 01.<>[]\n', max_size=80))
def test_anything_is_read_or_refused(text: str) -> None:
    with suppress(UserError):
        textgrid.tiers(('"ooTextFile" "TextGrid" 0 1 1 ' + text).encode(), "a")
