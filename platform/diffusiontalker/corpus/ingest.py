"""Takes of a source into shards, on all workers of the cluster, and what was found on the way.

A batch of takes is one task of Ray Data: it writes its shards and then its part, a note of what it
wrote. A batch whose part is there is not done again unless one of its files has changed, so a
killed job goes on where it was. The manifest is published last, by ``publish``: until then nobody
takes the set for a whole one.
"""

import contextlib
import csv
import io
import re
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from pydantic import TypeAdapter, ValidationError

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio.level import is_quiet
from diffusiontalker.config import DataSettings
from diffusiontalker.corpus import channel_order, clips, shards, splits, take_quality
from diffusiontalker.corpus.manifest import (
    FILE,
    SPLITS,
    Manifest,
    ShardInfo,
    is_whole,
    open_corpus,
    write_manifest,
)
from diffusiontalker.corpus.provenance import Made, made
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.corpus.sources import Listing, Recording, Source, Take, anywhere, open_source
from diffusiontalker.corpus.take_reports import KEPT, QUARANTINE, TakeReport
from diffusiontalker.errors import UserError

PLAN = "plan.json"
PART = "part-"
TAKES = "takes.json"
SHARD = re.compile(rf"(?:{'|'.join(SPLITS)})-\d{{5,}}\.parquet")
"""How files of shards are called."""
UNCONFIRMED = (
    "nothing names its columns: taken in the project's order, which so short or silent a sound "
    "cannot confirm; source.options.channels says it"
)
DEFAULT_BYTES_PER_SECOND = 96_000
"""Of audio, where no take can be read to measure it: 48 kHz, 16 bit, mono."""


@dataclass(frozen=True)
class Known:
    """What is known of the source's takes and files; kept in ``takes.json``."""

    takes: list[TakeReport]
    skipped: list[tuple[str, str]]
    made: Made | None = None
    """None: by a release that did not note it."""


@dataclass(frozen=True)
class Survey:
    """A source that can be read and an output that can be written."""

    settings: DataSettings
    folder: Path
    listing: Listing
    made: Made
    changes: tuple[str, ...] = ()
    """What has changed in the source since the output, whole or not, was made of it."""

    @property
    def kept(self) -> bool:
        """Whether the output is there and nothing is to be done."""
        return not self.changes and is_whole(self.folder)


@dataclass(frozen=True)
class Outcome:
    """What became of a source."""

    manifest: Manifest
    known: Known
    problem: str | None = None
    """Why the set must not be published; None: it may."""


@dataclass(frozen=True)
class Item:
    """A take and where it goes."""

    take: Take
    split: str | None
    """None: clip by clip."""


@dataclass(frozen=True)
class Part:
    """What one batch wrote, as it is kept until the set is published."""

    shards: list[ShardInfo]
    takes: list[TakeReport]
    key: str = ""
    """What it was made of."""


def survey(settings: DataSettings, folder: Path) -> Survey:
    """Look at the source's names and at the output, before any work and without Ray.

    Args:
        settings: source, clips, splits.
        folder: the output; claimed for this set.

    Raises:
        UserError: the source or the output cannot be used, or the output holds another set.
    """
    settings = settings.model_copy(update={"source": anywhere(settings.source)})
    source = open_source(settings.source)
    listing = _listing(source)
    if not listing.takes:
        raise UserError(_nothing(settings.source.root, listing))
    now = made(settings, source, listing.takes)
    storage.make_folder(folder)
    changes = _changes(folder, now) if is_whole(folder) else _claim(folder, now)
    return Survey(settings, folder, listing, now, tuple(changes))


def convert(found: Survey, progress: Callable[[int, int], None]) -> Outcome:
    """Write the shards, ``takes.json`` and ``quarantine.csv``, no manifest yet; what is there
    already is kept.

    Args:
        found: what to read and where to write.
        progress: called with takes done and takes in all.
    """
    settings, folder, listing = found.settings, found.folder, found.listing
    if found.kept:
        return Outcome(*kept(found))
    source = open_source(settings.source)
    batches = plan(source, listing.takes, settings)
    if found.changes:
        _clear(found, [_key(found.made, batch) for batch in batches])
    limit = settings.max_quarantined * len(listing.takes)
    written: list[ShardInfo] = []
    reports: list[TakeReport] = []
    for part in _write_parts(found, batches):
        written += part.shards
        reports += part.takes
        progress(len(reports), len(listing.takes))
        if sum(report.reason is not None for report in reports) > limit:
            break  # nothing that follows can mend that
    reports.sort(key=lambda report: report.take)
    known = Known(reports, listing.skipped, found.made)
    _write_tables(folder, known)
    problem = _problem(found, reports, len(written))
    # Where clips are split one by one, every speaker is seen.
    train = [r for r in reports if r.reason is None and r.split in (None, splits.TRAIN)]
    manifest = Manifest(
        source=settings.source.kind,
        shards=sorted(written, key=lambda shard: shard.file),
        identities=sorted({r.identity for r in train if r.identity is not None}),
        emotions=sorted({r.emotion for r in train if r.emotion is not None}),
        source_fingerprint=found.made.key,
    )
    return Outcome(manifest, known, problem)


def kept(found: Survey) -> tuple[Manifest, Known]:
    """The whole set that is in the output already. Raises UserError if it is damaged."""
    return open_corpus(found.folder), _known(found.folder)


def publish(folder: Path, outcome: Outcome) -> None:
    """Declare the set whole, and clear away what only an unfinished one needs, or had. Raises
    UserError."""
    write_manifest(folder, outcome.manifest)
    _remove_shards(folder, {shard.file for shard in outcome.manifest.shards})
    for name in storage.sizes(folder):
        if name == PLAN or re.fullmatch(rf"{PART}\d{{5,}}\.json", name):
            storage.remove(folder / name)


def plan(source: Source, takes: Sequence[Take], settings: DataSettings) -> list[list[Item]]:
    """Takes with their splits in batches of about ``shard_minutes``, shuffled by the seed.

    A batch holds one split, or takes of any where clips are split one by one; its take order, like
    everything here, follows from the settings alone, so that a second run has the same batches.
    """
    per_clip = settings.split.rule == "published"
    # A set without any split of its own leaves all to the shares, unseen speakers too.
    final = source.splits_are_final and any(take.split is not None for take in takes)
    chosen = {} if per_clip else splits.by_take(takes, settings.split, final)
    budget = settings.shard_minutes * 60 * _bytes_per_second(source, takes)
    rng = np.random.default_rng([settings.split.seed, 7])
    ordered = [takes[i] for i in rng.permutation(len(takes))]
    batches: list[list[Item]] = []
    for split in [None] if per_clip else SPLITS:
        batch: list[Item] = []
        size = 0
        for take in ordered:
            if chosen.get(take.id) != split:
                continue
            if batch and size + take.bytes > budget:
                batches.append(batch)
                batch, size = [], 0
            batch.append(Item(take, split))
            size += take.bytes
        if batch:
            batches.append(batch)
    return batches


def read_take(source: Source, item: Item, settings: DataSettings) -> tuple[list[Clip], TakeReport]:
    """The clips of a take, and what was found in it; a malformed one has a reason and no clips."""
    take = item.take
    published: Recording | None = None
    try:
        published = source.read(take)
        recording, (samples, coefficients, left_out) = _in_step(
            clips.ranged(published, settings.out_of_range), settings
        )
        named = "jawOpen" not in recording.missing
        doubt = channel_order.doubt(samples, coefficients) if named else None
        _check_order(recording, doubt)
        if recording.by_position and clips.loudness(samples, len(coefficients)) is None:
            recording = replace(recording, notes=(*recording.notes, UNCONFIRMED))
        vital = _vital(source, take, published)
    except Exception as error:  # whatever one take is like, the others are read
        if storage.is_remote(source.root) and storage.may_pass(error):
            raise  # nothing is wrong with the take
        notes = published.notes if published is not None else ()
        reason = _reason(error, notes)
        return [], _report(take, item.split, reason=reason, notes=notes)
    why = (
        None if settings.keep_lifeless else take_quality.lifeless(vital["silent"], vital["frozen"])
    )
    if why is not None:
        reason = "; ".join([f"{why}; keep_lifeless=true keeps such takes", *recording.notes])
        return [], _report(take, item.split, reason=reason, notes=recording.notes, **vital)
    seen = clips.shown(recording, len(coefficients))
    spans = clips.spans(seen, settings.clip_seconds, settings.min_clip_seconds)
    if seen.mean() < clips.LEAST_SEEN or (not spans and not seen.all()):
        lost = f"the face is lost in {1 - seen.mean():.0%} of {len(seen) / FPS:.1f} s"
        return [], _report(
            take, item.split, reason=f"{lost}: too little is left", notes=recording.notes, **vital
        )
    begin = max(recording.start, 0.0)
    if not spans:
        short = f"{len(coefficients) / FPS:.2f} s: shorter than a clip may be"
        reason = "; ".join([f"{short} (min_clip_seconds)", *recording.notes])
        return [], _report(take, item.split, reason=reason, notes=recording.notes, **vital)
    out = []
    for number, (start, stop) in enumerate(spans):
        name = f"{take.id}-{number:03d}"
        text, phones, phone_starts = _spoken(recording, begin + start / FPS, begin + stop / FPS)
        out.append(
            Clip(
                id=name,
                source=settings.source.kind,
                take=take.id,
                identity=take.identity,
                emotion=take.emotion,
                split=item.split or splits.by_clip(name, settings.split),
                text=take.text if text is None else text,
                phones=phones,
                phone_starts=phone_starts,
                audio=samples[clips.sample_of(start) : clips.sample_of(stop)],
                coefficients=coefficients[start:stop],
            )
        )
    inside = np.zeros(len(seen), bool)
    for start, stop in spans:
        inside[start:stop] = True
    kept = float(inside.sum()) / FPS
    lag = clips.lip_audio_lag(samples, coefficients)
    raw = published.coefficients
    raw = raw if published.seen is None else raw[published.seen]
    loud = np.abs(recording.audio)
    return out, _report(
        take,
        item.split,
        seconds=kept,
        dropped_seconds=left_out + len(coefficients) / FPS - kept,
        filled=float((inside & ~seen).sum() / inside.sum()),
        lost_seconds=float((~inside & ~seen).sum()) / FPS,
        clips=len(out),
        fps=recording.fps,
        rate=recording.rate,
        minimum=_rounded(raw.min(0)),
        maximum=_rounded(raw.max(0)),
        mean=_rounded(raw.mean(0)),
        pinned=_rounded((raw >= 1.0).mean(0)),
        missing=recording.missing,
        lag_seconds=lag[0] if lag else None,
        lag_correlation=lag[1] if lag else None,
        drift_seconds=clips.lag_drift(samples, coefficients),
        doubt=doubt.text if doubt else None,
        notes=recording.notes,
        peak=float(loud.max()),
        clipped=float((loud >= 0.999).mean()),
        **vital,
    )


def _reason(error: Exception, notes: Sequence[str]) -> str:
    """Why a take is malformed, with what was noted in reading it: a sound that is cut short does
    not fit its face, for one.

    The part about the mend is for whoever reads the table: kept whole.
    """
    text = str(error)
    if not isinstance(error, UserError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(text.split())[:200]
        text = f"{type(error).__name__}: {said} ({Path(place.filename).name}, line {place.lineno})"
    return "; ".join([text, *notes])


def _in_step(
    recording: Recording, settings: DataSettings
) -> tuple[Recording, tuple[np.ndarray, np.ndarray, float]]:
    """The recording at the rate of its audio, and what ``clips.align`` makes of it; as it is where
    lips and sound stay closer together so, however well the lengths fit. Raises UserError."""
    limits = settings.max_mismatch_seconds, settings.max_mismatch_share
    paced = clips.paced(recording)
    aligned = clips.align(paced, *limits)
    if paced is recording or (drift := clips.lag_drift(*aligned[:2])) is None:
        return paced, aligned
    with contextlib.suppress(UserError):
        plain = clips.align(recording, *limits)
        other = clips.lag_drift(*plain[:2])
        if other is not None and abs(other) < abs(drift):
            return recording, plain
    return paced, aligned


def _check_order(recording: Recording, doubt: channel_order.Doubt | None) -> None:
    """Refuse columns that were taken by position and are in another order, as far as is seen."""
    if recording.by_position and doubt is not None and doubt.order is not None:
        raise UserError(
            f"{doubt.text}: its columns are in another order than the project's; "
            f"source.options.channels={doubt.order} names it, a list of names any other, and "
            "source.options.channels=arkit says that they are as they should be"
        )


def _vital(source: Source, take: Take, recording: Recording) -> dict[str, Any]:
    """What tells whether a take teaches anything, as in ``TakeReport``."""
    sound = take_quality.sound_of(take.files)
    return {
        "silent": is_quiet(recording.audio),
        "frozen": take_quality.is_frozen(recording.coefficients),
        "cancelled_db": 0.0 if sound is None else take_quality.cancelled_db(source.path(sound)),
    }


def _spoken(
    recording: Recording, start: float, end: float
) -> tuple[str | None, list[str] | None, np.ndarray | None]:
    """The text of a part of a recording, its phones and their times in it; None: unknown."""
    text = phones = starts = None
    if recording.words:
        middles = [(word, (word.start + word.end) / 2) for word in recording.words]
        text = " ".join(word.label for word, at in middles if start <= at < end)
    if recording.phones:
        within = [span for span in recording.phones if span.start < end and span.end > start]
        phones = [span.label for span in within]
        starts = np.array([max(span.start - start, 0.0) for span in within], np.float32)
    return text, phones, starts


def _report(take: Take, split: str | None, **found: Any) -> TakeReport:
    return TakeReport(
        take=take.id, identity=take.identity, emotion=take.emotion, files=take.files, split=split,
        **found,
    )  # fmt: skip


def _write_parts(found: Survey, batches: list[list[Item]]) -> Iterator[Part]:
    """Run all batches on the cluster; yields their parts as they are done."""
    settings, of, root = found.settings, found.made.key, str(found.folder)
    keys = [_key(found.made, batch) for batch in batches]

    def work(row: dict[str, Any]) -> dict[str, str]:
        number = int(row["number"])
        target = storage.location(root)
        note = target / f"{PART}{number:05d}.json"
        if (there := _part(note)) is not None and there.key == keys[number]:
            return {"part": storage.read_text(note)}
        storage.remove(note)  # before its shards are written over
        part = replace(write_batch(settings, target, of, number, batches[number]), key=keys[number])
        text = TypeAdapter(Part).dump_json(part).decode()
        storage.write_bytes(note, text.encode())
        return {"part": text}

    numbers = ray.data.from_items(
        [{"number": n} for n in range(len(batches))], override_num_blocks=len(batches)
    )
    for row in numbers.map(work).iter_rows():
        yield TypeAdapter(Part).validate_json(row["part"])


def write_batch(
    settings: DataSettings, folder: Path, key: str, number: int, batch: list[Item]
) -> Part:
    """Read the takes of a batch and write a shard for each split that its clips lie in."""
    source = open_source(settings.source)
    reports: list[TakeReport] = []
    found: dict[str, list[Clip]] = {}
    for item in batch:
        own, report = read_take(source, item, settings)
        reports.append(report)
        for clip in own:
            found.setdefault(clip.split, []).append(clip)
    written = []
    for split, members in sorted(found.items()):
        channel_order = np.random.default_rng([settings.split.seed, number]).permutation(
            len(members)
        )
        path = folder / f"{split}-{number:05d}.parquet"
        written.append(shards.write_shard(path, [members[i] for i in channel_order], key))
    return Part(written, reports)


def _bytes_per_second(source: Source, takes: Sequence[Take]) -> float:
    """Of the audio of a take in the middle, or of the next that can be read."""
    ordered = sorted(takes, key=lambda take: (take.bytes, take.id))
    middle = len(ordered) // 2
    for take in ordered[middle : middle + 3]:
        try:
            recording = source.read(take)
        except Exception:  # what is wrong with it is found when it is read for good
            continue
        return max(take.bytes, 1) / max(len(recording.audio) / recording.rate, 0.1)
    return DEFAULT_BYTES_PER_SECOND


def _key(of: Made, batch: Sequence[Item]) -> str:
    return of.batch([(item.take, item.split) for item in batch])


def _listing(source: Source) -> Listing:
    """A source's takes, and all that lies in its folder and can be no part of one."""
    try:
        listing = source.takes()
    except UserError as error:
        left_out = [f"{name}: {reason}" for name, reason in source.tree.left_out]
        if not left_out:
            raise
        raise UserError("; ".join([str(error), *left_out[:3]])) from error
    return Listing(listing.takes, [*listing.skipped, *source.tree.left_out])


def _known(folder: Path) -> Known:
    """``takes.json`` of a whole set. Raises UserError if it is damaged."""
    path = folder / TAKES
    try:
        return TypeAdapter(Known).validate_json(storage.read_bytes(path))
    except ValidationError as error:
        raise UserError(f"{path}: damaged, or of another release; choose another output") from error


def _changes(folder: Path, now: Made) -> list[str]:
    """What has changed since the whole set in ``folder`` was made, or is lost of it. Raises
    UserError if that is another's."""
    before = _known(folder).made
    if before is None or not now.may_follow(before):
        raise UserError(
            f"{folder}: holds a set made of another source or with other settings; choose "
            "another output=..., or remove it"
        )
    return now.changes(before) or _losses(folder)


def _losses(folder: Path) -> list[str]:
    """A shard that is missing or cut, and why. Raises UserError if the manifest cannot be read."""
    try:
        open_corpus(folder)
    except UserError as error:
        if error.__cause__ is not None:
            raise
        return [str(error).removeprefix(f"{folder}/").partition(";")[0]]
    return []


def _claim(folder: Path, now: Made) -> list[str]:
    """Note whose unfinished set the folder holds; what has changed since that was begun.

    Raises UserError if it is another's.
    """
    path = folder / PLAN
    if not storage.is_file(path):
        if there := [name for name in storage.files(folder) if SHARD.fullmatch(name)]:
            raise UserError(
                f"{folder}: holds {there[0]}, which would be written over, and neither {PLAN} nor "
                f"{FILE} says of what set it is; choose another output=..., or remove it"
            )
        storage.write_json(path, TypeAdapter(Made).dump_python(now))
        return []
    try:
        before = TypeAdapter(Made).validate_json(storage.read_bytes(path))
    except ValidationError:
        before = None
    if before is None or not now.may_follow(before):
        raise UserError(
            f"{folder}: holds an unfinished set of another source or of other settings; choose "
            "another output=..., or remove it"
        )
    return now.changes(before)


def _clear(found: Survey, keys: Sequence[str]) -> None:
    """Make room for a set whose source has changed: withdraw the whole one, and of an unfinished
    one remove the batches that are to be made again. Raises UserError."""
    folder = found.folder
    # First of all: from now on, too, it says whose the folder is.
    storage.write_json(folder / PLAN, TypeAdapter(Made).dump_python(found.made))
    if is_whole(folder):
        storage.remove(folder / FILE)
        _remove_shards(folder)
    for name in storage.sizes(folder):
        if number := re.fullmatch(rf"{PART}(\d{{5,}})\.json", name):
            part = _part(folder / name)
            if part is None or part.key not in keys[int(number[1]) :][:1]:
                storage.remove(folder / name)
                for shard in part.shards if part else ():
                    storage.remove(folder / shard.file)


def _remove_shards(folder: Path, but: Collection[str] = ()) -> None:
    """Remove the shards in a set's folder: none may stay beside those that readers find there by
    their names. Raises UserError."""
    for name in storage.files(folder):
        if SHARD.fullmatch(name) and name not in but:
            storage.remove(folder / name)


def _part(note: Path) -> Part | None:
    """The part that a note is of; None where there is none of this release."""
    if not storage.is_file(note):
        return None
    try:
        return TypeAdapter(Part).validate_json(storage.read_bytes(note))
    except ValidationError:
        return None


def _write_tables(folder: Path, known: Known) -> None:
    storage.write_bytes(folder / TAKES, TypeAdapter(Known).dump_json(known))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["what", "name", "files", "reason"])
    for report in known.takes:
        if report.reason is not None:
            table.writerow(["malformed take", report.take, " ".join(report.files), report.reason])
    for name, reason in known.skipped:
        what = "note" if reason.startswith(KEPT) else "skipped file"
        table.writerow([what, name, name, reason])
    storage.write_bytes(folder / QUARANTINE, text.getvalue().encode())


def _problem(found: Survey, reports: Sequence[TakeReport], written: int) -> str | None:
    """Too many takes in quarantine, with an example of why, or nothing left at all."""
    bad = [report for report in reports if report.reason is not None]
    total, share = len(found.listing.takes), found.settings.max_quarantined
    if not written or len(bad) > share * total:
        count = f"{len(bad)}" if len(reports) == total else f"at least {len(bad)}"
        return (
            f"{count} of {total} takes are malformed, more than max_quarantined={share:g} "
            f"allows; for example {bad[0].take}: {bad[0].reason}; all are listed in "
            f"{found.folder / QUARANTINE}"
        )
    return None


def _nothing(root: str, listing: Listing) -> str:
    why = f"; {listing.skipped[0][0]}: {listing.skipped[0][1]}" if listing.skipped else ""
    return f"{root}: holds no take that could be used, {len(listing.skipped)} passed over{why}"


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values.astype(np.float64), 4).tolist())
