"""The page and the console lines of a prepared data set, from hand-made takes."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs
from tests.pages import EVIL, Reader, figures_of

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.corpus.manifest import ShardInfo
from diffusiontalker.corpus.take_reports import TakeReport
from diffusiontalker.errors import UserError
from diffusiontalker.report.prepared import plots
from diffusiontalker.report.prepared.console import console_lines
from diffusiontalker.report.prepared.findings import findings, headline
from diffusiontalker.report.prepared.page import (
    REMARKS,
    ROWS,
    Preparation,
    render,
    write_prepared,
)
from diffusiontalker.report.prepared.reasons import Remark, group_by_reason
from diffusiontalker.report.prepared.recording_findings import median_lag
from diffusiontalker.report.prepared.statistics import set_statistics
from diffusiontalker.report.prepared.tables import SEVERAL, emotion_table, speaker_rows
from diffusiontalker.report.wording import percent

FLAT = (0.0,) * 52


def take(name, identity="ann", emotion="happy", split="train", seconds=120.0, **more):
    """A take with which nothing is wrong."""
    given = {
        "clips": 12, "fps": 60.0, "rate": 48000, "minimum": FLAT, "maximum": (0.8,) * 52,
        "mean": (0.2,) * 52, "pinned": FLAT, "lag_seconds": 0.02, "lag_correlation": 0.6,
        "peak": 0.5,
    }  # fmt: skip
    return TakeReport(name, identity, emotion, split=split, seconds=seconds, **given | more)


def refused(name, reason, identity="ann", files=()):
    return TakeReport(name, identity, files=files, reason=reason)


def shard(split, seconds, clips=1):
    lengths = (round(seconds * 30 / clips),) * clips
    return ShardInfo(f"{split}-0.parquet", split, lengths, (), (), 2_500_000, "0" * 64)


SHARDS = [shard(split, 120, 12) for split in ("train", "val", "test_seen", "test_unseen")]
PREPARATION = Preparation(
    source="folder", root="/data/mine", output="s3://corpus/mine/", fingerprint="0123456789abcdef",
    split_rule="by take", clip_seconds=10.0, started=1_700_000_000.0, finished=1_700_000_185.0,
    version="0.2.0", shards=SHARDS,
)  # fmt: skip
GOOD = [
    take("a", split="train"),
    take("b", split="val"),
    take("c", "bob", split="test_seen"),
    take("d", "cid", split="test_unseen"),
]


def channel(values, name, value):
    """The 52 values with one exchanged."""
    return tuple(value if i == INDEX[name] else v for i, v in enumerate(values))


def titles(takes, shards=SHARDS):
    return [finding.title for finding in findings(set_statistics(takes, shards))]


def test_a_good_set_needs_no_findings():
    page = Reader(render(GOOD, [], PREPARATION))
    assert "8 min 00 s of speech in 48 clips of 4 takes by 3 speakers" in page.text
    assert "Nothing needs attention." in page.text
    assert ("h1", {"class": "nothing"}) in page.tags
    assert "No take had to be put aside." in page.text
    assert "Every file belongs to a take." in page.text


def test_each_trouble_is_found_and_has_a_mend():
    bad = take(
        "bad", "dan", None, seconds=30.0, dropped_seconds=400.0, lag_seconds=0.5,
        missing=("tongueOut",), clipped=0.01,
        pinned=channel(FLAT, "jawOpen", 0.5),
    )  # fmt: skip
    dead = [replace(t, maximum=channel(t.maximum, "cheekPuff", 0.0005)) for t in [*GOOD, bad]]
    takes = [*dead, refused("gone", "no audio", "eve")]
    found = findings(set_statistics(takes, [s for s in SHARDS if s.split != "val"]))
    assert [finding.title for finding in found] == [
        "The split val is empty.",
        "1 take of 6 (17%) is in quarantine.",
        "6 min 40 s of the speech (44%) was left out.",
        "1 take is out of step with the rest.",
        "1 channel is not named by every take: tongueOut.",
        "1 channel is dead: cheekPuff.",
        "1 channel is clipped: jawOpen.",
        "The emotion of 1 take (20%) is unknown.",
        "1 speaker has less than a minute of speech: dan.",
        "The audio of 1 take is clipped: bad.",
    ]
    assert "No take is left of eve." in found[1].text
    assert all(finding.text and finding.remedy for finding in found)
    page = Reader(render(takes, [], replace(PREPARATION, shards=SHARDS[2:])))
    targets = {attributes.get("id") for _, attributes in page.tags}
    links = [a["href"][1:] for tag, a in page.tags if tag == "a"]
    assert len(links) > len(found)
    assert set(links) <= targets


def test_what_was_filled_lost_and_mended_is_said():
    takes = [
        replace(GOOD[0], filled=0.25, lost_seconds=8.0, notes=("rows left out: 3",)),
        replace(GOOD[1], filled=0.009, notes=("rows left out: 12", "a day was added")),
        replace(GOOD[2], drift_seconds=-0.11, doubt="jawOpen hardly moves (by 0.001)"),
        replace(GOOD[3], drift_seconds=0.05),
    ]
    found = {finding.title: finding.text for finding in findings(set_statistics(takes, SHARDS))}
    assert list(found) == [
        "The face is lost for a while in 1 take: a.",
        "The channels of 1 take may not be what they are called: c.",
        "1 take drifts between beginning and end: c.",
        "2 takes had to be mended in reading, or could not be used whole.",
    ]
    lost, doubts, drifts, mended = found.values()
    assert "31 s in all; longer ones are in no clip, 8.0 s" in lost
    assert "1 x jawOpen hardly moves" in doubts
    assert "-110 ms" in drifts
    assert mended.startswith("2 x rows left out: …; 1 x a day was added")
    page = Reader(render(takes, [], PREPARATION))
    assert any("8.0" in row and "25.0%" in row for row in page.rows)
    assert ["Left out because the face was lost", "8.0 s"] in page.rows
    assert any(
        "8.0 s left out, 31 s filled in" in line for line in console_lines(takes, [], PREPARATION)
    )


def test_takes_without_life_are_named_kept_or_not():
    takes = [
        *GOOD,
        take("hush", silent=True),
        take("half", cancelled_db=12.0),
        take("text", notes=("its text is unknown: x.TextGrid: cut off",)),
        replace(refused("wax", "the face does not move"), frozen=True),
        replace(refused("anti", "silent"), silent=True, cancelled_db=90.0),
    ]
    assert titles(takes)[1:] == [
        "2 takes are silent: hush, anti.",
        "1 take has a face that does not move: wax.",
        "2 takes have channels that cancel each other: half, anti.",
        "1 take had to be mended in reading, or could not be used whole.",
    ]
    found = findings(set_statistics(takes, SHARDS))
    assert found[1].text.endswith("1 of them is in the shards.")
    assert [finding.section for finding in found[1:4]] == ["takes", "quarantine", "takes"]
    lines = console_lines(takes, [], PREPARATION)
    assert sum(line.startswith("  attention ") for line in lines) == 3
    assert titles([*GOOD, take("edge", cancelled_db=10.0)]) == []


def test_links_to_nothing_are_found():
    listed = [("a.wav", "a link to x, which is not there; fetch it"), ("b.txt", "no audio")]
    (finding,) = findings(set_statistics(GOOD, SHARDS, listed))
    assert finding.title == "1 link leads to nothing: a.wav."
    assert "a.wav" in Reader(render(GOOD, listed, PREPARATION)).text
    assert "  attention   1 link leads to nothing: a.wav." in console_lines(
        GOOD, listed, PREPARATION
    )


def test_names_that_differ_in_case_alone_are_found():
    twice = [replace(t, identity=t.identity.upper()) for t in GOOD[:1]]
    found = titles([*GOOD, *twice])
    assert found == [f"1 speaker may count several times: {twice[0].identity} and "
                     f"{GOOD[0].identity}."]  # fmt: skip
    odd = [replace(GOOD[0], take="odd", emotion="Anger "), replace(GOOD[0], emotion="anger")]
    assert titles([*GOOD[1:], *odd]) == ["1 emotion may count several times: Anger  and anger."]


def test_limits_are_not_crossed_by_what_lies_on_them():
    edge = take(
        "edge", "dan", seconds=60.0, clipped=0.001, pinned=channel(FLAT, "jawOpen", 0.01),
        lag_seconds=0.12, maximum=channel((0.8,) * 52, "cheekPuff", 0.001),
        dropped_seconds=60.0,
    )  # fmt: skip
    alike = [replace(t, maximum=edge.maximum, pinned=edge.pinned) for t in GOOD]
    assert titles([*alike, edge]) == []


def test_a_channel_that_nobody_names_is_not_called_dead():
    takes = [replace(t, missing=("tongueOut",), maximum=FLAT) for t in GOOD]
    found = titles(takes)
    assert found[0] == "1 channel is never named: tongueOut."
    assert found[1].startswith("51 channels are dead: browDownLeft, ")
    assert found[1].endswith(" and 45 more.")
    assert "tongueOut" not in found[1]


def test_means_weigh_by_length_and_ranges_span_all():
    long = take("long", seconds=90.0, mean=(0.1,) * 52, pinned=(0.04,) * 52)
    short = take("short", seconds=30.0, mean=(0.5,) * 52, minimum=(-0.1,) * 52, maximum=(1.0,) * 52)
    (jaw,) = [c for c in set_statistics([long, short], []).channels if c.name == "jawOpen"]
    assert (jaw.low, jaw.high, jaw.named) == (-0.1, 1.0, 2)
    assert jaw.mean == pytest.approx((90 * 0.1 + 30 * 0.5) / 120)
    assert jaw.pinned == pytest.approx(0.03)


def test_takes_in_quarantine_count_nowhere_else():
    found = set_statistics([*GOOD, refused("x", "broken", "zoe")], SHARDS)
    assert (found.clips, found.seconds, found.known_speakers) == (48, 480.0, 3)
    rows = {row.name: (row.takes, row.quarantined, row.splits) for row in speaker_rows(found)}
    assert rows == {
        "ann": (2, 0, "train, val"),
        "bob": (1, 0, "test_seen"),
        "cid": (1, 0, "test_unseen"),
        "zoe": (0, 1, "–"),
    }


def test_hours_by_split_are_those_of_the_shards():
    takes = [take("a", split=None, seconds=7200.0), take("b", split="val", seconds=60.0)]
    shards = [shard("train", 5400, 540), shard("val", 1860, 186)]
    page = Reader(render(takes, [], replace(PREPARATION, shards=shards)))
    assert ["train", "1 h 30 min", "74%", "540", "0", "0"] in page.rows
    assert ["val", "31 min 00 s", "26%", "186", "1", "1"] in page.rows
    assert ["test_seen", "–", "0%", "0", "0", "0"] in page.rows
    assert [SEVERAL, "120.0"] in page.rows
    assert "2 files, 5.0 MB, in s3://corpus/mine/" in page.text


def test_unknown_emotion_is_not_neutral_nor_one_called_unknown():
    takes = [
        take("a", emotion=None, seconds=180.0),
        take("b", emotion="unknown", seconds=120.0),
        take("c", emotion="neutral", seconds=60.0, split="val"),
    ]
    names, rows = emotion_table(set_statistics(takes, SHARDS))
    assert names == [None, "unknown", "neutral"]
    assert rows == [("train", [180.0, 120.0, 0.0]), ("val", [0.0, 0.0, 60.0])]
    bars = plots.figures(set_statistics(takes, SHARDS))["emotions"].data[0]
    assert list(bars.x) == [3.0, 2.0, 1.0]  # minutes; two bars, though they are called alike


def test_lags_are_told_with_their_sign_and_the_outliers_listed():
    takes = [
        *(take(str(n), lag_seconds=0.02) for n in range(5)),
        take("late", lag_seconds=0.4, lag_correlation=0.31),
        take("early", lag_seconds=-0.2, lag_correlation=None),
        take("silent", lag_seconds=None),
    ]
    page = Reader(render(takes, [], PREPARATION))
    assert "In the median take the mouth moves 20 ms later than the sound." in page.text
    assert "of 1 take it could not be measured" in page.text
    assert ["late", "ann", "+400", "0.31", "2 min 00 s"] in page.rows
    assert ["early", "ann", "−200", "–", "2 min 00 s"] in page.rows
    assert "2 outliers, the farthest first" in page.text
    histogram = plots.figures(set_statistics(takes, SHARDS))["lag"].data[0]
    # One frame is 33.3 ms: 20 ms are the first, 400 the twelfth, -200 the sixth before.
    assert dict(zip(histogram.customdata, histogram.y, strict=True)) == {-6: 1, 1: 5, 12: 1}


def test_median_lag_in_words():
    assert median_lag(-34.6) == "In the median take the mouth moves 35 ms earlier than the sound."
    assert median_lag(2.0) == "In the median take the mouth moves together with the sound."
    assert titles([replace(t, lag_seconds=0.15) for t in GOOD]) == [
        "Mouth and sound are out of step in the whole set."
    ]
    assert titles([replace(t, lag_seconds=None) for t in GOOD]) == []


def test_ranges_mark_what_is_wrong():
    takes = [
        replace(
            t,
            missing=("tongueOut",),
            maximum=channel(channel(t.maximum, "cheekPuff", 0.0), "jawOpen", 1.0),
            pinned=channel(FLAT, "jawOpen", 0.2),
        )
        for t in GOOD
    ]
    found = plots.figures(set_statistics(takes, SHARDS))
    upper, lip = found["upper"], found["lip"]
    drawn = [*upper.layout.yaxis.ticktext, *lip.layout.yaxis.ticktext]
    assert sorted(drawn) == sorted(CHANNELS)
    assert (len(upper.data[0].y), len(lip.data[0].y)) == (24, 28)
    marks = dict(zip(lip.data[2].y, lip.data[2].text, strict=True))
    assert {lip.layout.yaxis.ticktext[place]: words for place, words in marks.items()} == {
        "jawOpen": " clipped",
        "tongueOut": " never named",
    }
    assert list(upper.data[2].text) == [" dead"]
    assert upper.layout.xaxis.range == lip.layout.xaxis.range


def test_reasons_of_one_kind_are_counted_together():
    found = group_by_reason(
        [
            Remark("a", ("x/a.wav",), "x/a.wav: 0.3 s of audio; at least 1.0 s are needed"),
            Remark("b", ("x/b.json",), "/my data/x/b.json: frame 3: expected 51 weights"),
            Remark("c", ("x/c.wav",), "x/c.wav: 0.25 s of audio; at least 1.0 s are needed"),
            Remark("d", (), "unknown channel 'jaw'"),
            Remark("e 1", (), "s3://data/e 1.wav: 0.7 s of audio; at least 1.0 s are needed"),
            Remark("f", (), "unknown channel 'brow'"),
            Remark("g", (), ""),
        ]
    )
    assert [(group.title, [r.name for r in group.remarks]) for group in found] == [
        ("… s of audio; at least 1.0 s are needed", ["a", "c", "e 1"]),
        ("unknown channel …", ["d", "f"]),
        ("frame 3: expected 51 weights", ["b"]),
        ("no reason given", ["g"]),
    ]


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=60)), max_size=12))
def test_no_refusal_is_lost_whatever_its_words(pairs):
    found = group_by_reason(Remark(name, (name,), reason) for name, reason in pairs)
    listed = [(r.name, r.reason) for group in found for r in group.remarks]
    assert sorted(listed) == sorted(pairs)
    assert all(group.title for group in found)


def test_very_long_reasons_are_quick():
    start = time.perf_counter()
    found = group_by_reason(
        Remark("a", (), text * 20_000) for text in ("'a", "1.", "a/", ": ", '"')
    )
    assert time.perf_counter() - start < 1
    assert max(len(group.title) for group in found) <= 400


def test_nothing_but_quarantine():
    takes = [refused(f"t{n}", f"t{n}.wav: the file is empty", files=(f"t{n}.wav",)) for n in (1, 2)]
    preparation = replace(PREPARATION, shards=())
    page = Reader(render(takes, [("notes.txt", "no audio")], preparation))
    assert "Nothing could be prepared: all 2 takes are in quarantine." in page.text
    assert ("h1", {"class": "loses"}) in page.tags
    assert "2 takes – the file is empty" in page.text
    assert ["t1", "t1.wav", "t1.wav: the file is empty"] in page.rows
    assert ["notes.txt", "no audio"] in page.rows
    assert "s3://corpus/mine/quarantine.csv" in page.text
    assert [a for _, a in page.tags if "data-figure" in a] == []
    assert console_lines(takes, [], preparation)[1:3] == [
        "  quarantine  2 takes:",
        "    2 x the file is empty",
    ]


def test_no_takes_at_all():
    preparation = replace(PREPARATION, shards=())
    assert "No takes were found." in Reader(render([], [], preparation)).text
    assert console_lines([], [], preparation)[0] == "No takes were found."


def test_a_job_that_published_nothing():
    assert titles(GOOD, []) == ["No shards were published: there is nothing to train on."]
    assert headline(set_statistics([take("a", None)], [])).endswith("of 1 take by unknown speakers")


def test_takes_of_which_little_is_known():
    bare = [TakeReport("a", seconds=5.0, clips=1, split="train")]
    page = Reader(render(bare, [], PREPARATION))
    assert "It could not be measured for any take." in page.text
    assert "None" not in page.text
    assert "nan" not in page.text.lower().split()


def test_names_from_the_data_stay_text():
    takes = [
        take(EVIL, EVIL, EVIL, lag_seconds=0.0),
        take("late", EVIL, EVIL, lag_seconds=0.9),
        take("usual", EVIL, EVIL, lag_seconds=0.0),
        refused(EVIL, f"{EVIL} is odd", EVIL, (EVIL,)),
    ]
    preparation = replace(PREPARATION, root=EVIL, split_rule=EVIL, source=EVIL)
    page = render(takes, [(EVIL, EVIL)], preparation)
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in reader.tags) == 4
    assert EVIL not in page
    assert reader.text.count(EVIL) >= 10
    # Plotly reads some HTML in its texts, so names are escaped once more within the figures.
    named = figures_of(page)["speakers"]["layout"]["yaxis"]["ticktext"]
    assert named == ["&lt;/script&gt;&lt;script&gt;wind…"]


def test_names_that_no_encoding_knows(tmp_path):
    odd = "caf\udce9\x1b[31m"
    write_prepared(tmp_path / "prepare.html", [take(odd, odd, odd)], [(odd, odd)], PREPARATION)
    assert "caf?" in (tmp_path / "prepare.html").read_text("utf-8")
    lines = console_lines([take(odd, odd, odd), refused(odd, odd)], [(odd, odd)], PREPARATION)
    assert all(line.isprintable() for line in lines)
    assert "caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m 2 min 00 s" in lines[2]


def test_the_page_is_self_contained():
    page = render(GOOD, [("a.txt", "no audio")], PREPARATION)
    assert get_plotlyjs() in page
    tags = Reader(page).tags
    addresses = [a[k] for _, a in tags for k in ("src", "href") if k in a]
    assert addresses
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    own = page.replace(get_plotlyjs(), "")
    assert not re.search(r"url\(|@import|https?://", own)
    assert "default-src 'none'" in page
    assert {a["data-figure"] for _, a in tags if "data-figure" in a} == set(figures_of(page))


def test_large_sets_stay_readable():
    takes = [take(f"take-{n}", f"speaker-{n % 300}", lag_seconds=n % 7 / 10) for n in range(2000)]
    takes += [refused(f"bad-{n}", f"reason {'abcde'[n % 5]}") for n in range(1000)]
    skipped = [(f"file-{n}.txt", "no audio") for n in range(3000)]
    start = time.perf_counter()
    page = render(takes, skipped, PREPARATION)
    assert time.perf_counter() - start < 5
    assert len(page) - len(get_plotlyjs()) < 1_500_000
    reader = Reader(page)
    first = [row[0] for row in reader.rows if row]
    assert sum(name.startswith("file-") for name in first) == REMARKS
    assert sum(name.startswith("bad-") for name in first) == REMARKS
    assert sum(len(row) == 16 and row[0].startswith("take-") for row in reader.rows) == ROWS
    assert "Shown: the first 200 of 3,000 files." in reader.text
    assert "Shown: the first 500 of 2,000 takes." in reader.text
    assert "200 takes – reason c" in reader.text
    speakers = figures_of(page)["speakers"]
    assert len(speakers["data"][0]["x"]) == 300
    assert speakers["layout"]["height"] < 400


def test_reasons_of_countless_kinds_do_not_fill_the_page():
    takes = [
        refused(f"t{n}", "because of " + "x" * (n // 32) + "y" * (n % 32)) for n in range(1000)
    ]
    reader = Reader(render(takes, [], PREPARATION))
    assert sum(tag == "details" for tag, _ in reader.tags) == 41
    assert "960 takes – 960 other reasons" in reader.text


def test_shares_are_never_rounded_to_none_or_all():
    assert [percent(*x) for x in ((0, 5), (1, 500), (1, 4), (499, 500), (5, 5), (0, 0))] == [
        "0%", "under 1%", "25%", "over 99%", "100%", "0%",
    ]  # fmt: skip


def test_write_into_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        write_prepared(tmp_path / "nowhere" / "prepare.html", GOOD, [], PREPARATION)


def test_console_says_the_essential():
    takes = [*GOOD, take("late", lag_seconds=0.4), refused("x", "x.wav: the file is empty")]
    listed = [("a.txt", "no audio"), ("b", "kept, but sung"), ("c", "kept, but sung")]
    assert console_lines(takes, listed, PREPARATION) == [
        "10 min 00 s of speech in 60 clips of 5 takes by 3 speakers",
        "  splits      train 2 min 00 s, val 2 min 00 s, test_seen 2 min 00 s, "
        "test_unseen 2 min 00 s",
        "  emotions    happy 10 min 00 s",
        "  lip sync    median lag +20 ms, farthest +400 ms (late)",
        "  quarantine  1 take:",
        "    1 x the file is empty",
        "  skipped     1 file:",
        "    a.txt: no audio",
        "  noted       2 files:",
        "    2 x kept, but sung",
        "  all of them s3://corpus/mine/quarantine.csv",
        "  shards      s3://corpus/mine/ (4 files, 10.0 MB)",
        "  page        s3://corpus/mine/prepare.html (2 things to look at)",
    ]
