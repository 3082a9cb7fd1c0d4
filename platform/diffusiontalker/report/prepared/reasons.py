"""Remarks on takes and files, grouped by reason where only names and numbers differ."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_VARIABLE = re.compile(r"""(?<!\w)(?:'[^']*'|"[^"]*"|[-+]?\d+(?:[.,]\d+)*(?!\w))""")
"""What differs between two occurrences of one fault: quoted names and numbers."""
_PLACE = re.compile(r"[/\\…]|\.\w{1,8}$")
"""The beginning of a reason that only locates it: a path or a file name."""
_MAX_LENGTH = 400
"""Characters of a reason that are compared."""


@dataclass(frozen=True)
class Remark:
    """A reason why a take or file is unused, doubtful or was repaired."""

    name: str
    """Of the take or file."""
    files: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class ReasonGroup:
    """Remarks whose reasons differ in names and numbers alone."""

    title: str
    """The reason, with an ellipsis where the remarks differ."""
    remarks: tuple[Remark, ...]


def group_by_reason(remarks: Iterable[Remark]) -> list[ReasonGroup]:
    """Groups of remarks, the most frequent reason first."""
    groups: dict[tuple[str, ...], list[tuple[list[str], Remark]]] = {}
    for remark in remarks:
        core = _without_place(remark)
        constant = tuple(_VARIABLE.split(core))
        groups.setdefault(constant, []).append((_VARIABLE.findall(core), remark))
    out = []
    for (first, *rest), members in groups.items():
        # A number or a name that is the same in all of them stays in the title.
        columns = zip(*(variables for variables, _ in members), strict=True)
        agreed = (column[0] if len(set(column)) == 1 else "…" for column in columns)
        title = first + "".join(map("".join, zip(agreed, rest, strict=True)))
        out.append(ReasonGroup(title, tuple(remark for _, remark in members)))
    return sorted(out, key=lambda group: -len(group.remarks))


def _without_place(remark: Remark) -> str:
    """The reason without the path or file name that it begins with."""
    text = remark.reason[:_MAX_LENGTH]
    for name in sorted((remark.name, *remark.files), key=len, reverse=True):
        if name and name in text:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    head, colon, rest = text.partition(": ")
    while colon and _PLACE.search(head):
        text = rest
        head, colon, rest = text.partition(": ")
    return text.strip() or "no reason given"
