"""Groups: how a coded equality answer becomes the group it is counted in, and which words name a group.

A group is a string, ``<codeset>:<code>`` or ``unknown:<kind>``. The same letter means different things in
different code lists, so a bare code is never a group. The lists themselves are data (``pipeline.reference``)
and are passed in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from pipeline.errors import TerminalError

CHARACTERISTICS: Final = (
    "ethnicity",
    "disability",
    "sex",
    "gender_reassignment",
    "age",
    "religion",
    "sexual_orientation",
    "marital_status",
    "pregnancy_maternity",
)
"""The nine protected characteristics in the order of ``Transition.groups``. Appending is safe, reordering is
not."""

CHARACTERISTIC_INDEX: Final = MappingProxyType({name: i for i, name in enumerate(CHARACTERISTICS)})

UNKNOWN_KINDS: Final = ("not_asked", "no_response", "declined", "not_known", "withdrawn")
"""Why an answer is absent. They are kept apart because they move for different reasons (Source: NSHCS 2022
tables part "Blank entry" from "Not stated"; Greenhouse parts "did not receive questions" from "no
response")."""

UNKNOWN_PREFIX: Final = "unknown:"
UNKNOWN_NOT_KNOWN: Final = "unknown:not_known"
"""The group of a person of whom no answer has arrived at all."""

UNKNOWN_WITHDRAWN: Final = "unknown:withdrawn"
"""The group of a person who objected to being monitored."""

UNKNOWN_CODES: Final = MappingProxyType(
    {
        ("nhs_ethnic_category", "Z"): "declined",
        ("nhs_ethnic_category", "99"): "not_known",
        ("nhs_disability", "not_declared"): "declined",
        ("nhs_disability", "prefer_not_to_say"): "declined",
        ("nhs_stated_gender", "X"): "not_known",
        ("age_band", "not_shared"): "declined",
        ("nhs_religion", "M"): "declined",
        ("nhs_religion", "N"): "not_known",
        ("nhs_sexual_orientation", "Z"): "declined",
        ("nhs_sexual_orientation", "9"): "not_known",
        ("nhs_marital_status", "N"): "declined",
        ("nhs_marital_status", "8"): "not_asked",
        ("nhs_marital_status", "9"): "not_known",
        ("yes_no", "prefer_not_to_say"): "declined",
    }
)
"""Codes of the lists that say nothing but *why* nothing is known, and the kind they are counted as.

"Not stated" is ``declined`` and not ``not_known``: the person was asked and did not say, while 99 is used
where nobody asked or nobody could (Source: NHS Data Dictionary, ETHNIC CATEGORY, national codes Z and 99)."""

_ETHNIC_LETTERS: Final = frozenset("ABCDEFGHJKLMNPRS")
_ESR_CODE_LENGTH: Final = 2
_GROUP_CACHE: Final = 4096  # far above the size of all lists; bounds what invented local codes can occupy


class UnknownKindError(TerminalError):
    """An answer gives a kind of absence that does not exist."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"expected one of {', '.join(UNKNOWN_KINDS)} as kind of an unknown answer, found {kind!r}")


class UnknownCharacteristicError(TerminalError):
    """A word that names no protected characteristic."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"expected a characteristic ({', '.join(CHARACTERISTICS)}), found {name!r}")


class UnknownGroupError(TerminalError):
    """A word that names no group of the characteristic."""

    def __init__(self, characteristic: str, text: str, accepted: Iterable[str]) -> None:
        self.characteristic = characteristic
        self.text = text
        self.accepted = tuple(accepted)
        super().__init__(
            f"expected a group of {characteristic}, found {text!r}; accepted are a code, codeset:code, "
            f"a label, or a pooled group: {', '.join(self.accepted)}"
        )


@lru_cache(maxsize=_GROUP_CACHE)
def group_of(codeset: str | None, code: str | None, unknown: str | None) -> str:
    """Return the group an equality answer is counted in.

    An ESR sub-code of the ethnic category (``CA`` English) is counted under its first letter, so that one
    employer's finer form opens no group that others cannot have (Source: NHS Data Dictionary, extended ethnic
    codes). A code without its code set cannot be read and is ``unknown:not_known``.

    Args:
        codeset: Name of the code list, such as ``nhs_ethnic_category`` or ``local:broad_ethnic_group``.
        code: The code in that list, exactly as listed.
        unknown: Kind of absence, one of ``UNKNOWN_KINDS``; wins over a code.

    Returns:
        ``<codeset>:<code>`` or ``unknown:<kind>``.

    Raises:
        UnknownKindError: If ``unknown`` is given and no kind.

    Examples:
        >>> group_of("nhs_ethnic_category", "A", None)
        'nhs_ethnic_category:A'
        >>> group_of("nhs_ethnic_category", "Z", None), group_of(None, None, "not_asked")
        ('unknown:declined', 'unknown:not_asked')
    """
    if unknown is not None:
        if unknown not in UNKNOWN_KINDS:
            raise UnknownKindError(unknown)
        return UNKNOWN_PREFIX + unknown
    if not codeset or not code:
        return UNKNOWN_NOT_KNOWN
    kind = UNKNOWN_CODES.get((codeset, code))
    if kind is not None:
        return UNKNOWN_PREFIX + kind
    if codeset == "nhs_ethnic_category" and len(code) == _ESR_CODE_LENGTH and code[0] in _ETHNIC_LETTERS:
        return f"{codeset}:{code[0]}"
    return f"{codeset}:{code}"


def is_unknown(group: str) -> bool:
    """Tell whether a group stands for an absent answer.

    Examples:
        >>> is_unknown("unknown:declined"), is_unknown("yes_no:no")
        (True, False)
    """
    return group.startswith(UNKNOWN_PREFIX)


@dataclass(frozen=True, slots=True)
class Code:
    """One code of a list: its label, other words for it, and the kind of absence if it means one."""

    code: str
    label: str
    aliases: tuple[str, ...] = ()
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class CodeList:
    """One code list, such as the NHS ethnic category, and the characteristics it can answer."""

    codeset: str
    characteristics: tuple[str, ...]
    codes: tuple[Code, ...]
    source: str

    def groups(self) -> tuple[str, ...]:
        """Return the groups of its known values, in the order of the list."""
        return tuple(f"{self.codeset}:{code.code}" for code in self.codes if code.unknown is None)


@dataclass(frozen=True, slots=True)
class PooledGroup:
    """Several groups read as one (``BME``), over all code lists of the characteristic.

    Pooled groups with the same ``level`` part the known values: ethnicity has ``broad`` (five) and ``binary``
    (two).
    """

    characteristic: str
    name: str
    level: str
    groups: frozenset[str]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupSelector:
    """What a word selects: one group or a pooled one.

    ``name`` is the canonical spelling to print: the pooled name, or the group string.
    """

    characteristic: str
    name: str
    label: str
    groups: frozenset[str]
    is_pooled: bool = False

    def matches(self, group: str) -> bool:
        """Tell whether people counted in ``group`` belong to the selection."""
        return group in self.groups


@dataclass(frozen=True, slots=True)
class CodeLists:
    """All code lists and pooled groups of one version of the reference data."""

    version: int
    lists: tuple[CodeList, ...]
    pooled: tuple[PooledGroup, ...]
    content_hash: str = ""
    _words: Mapping[str, Mapping[str, GroupSelector]] = field(init=False, repr=False, compare=False)
    _labels: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _codesets: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = {characteristic: _words_of(self, characteristic) for characteristic in CHARACTERISTICS}
        labels = {s.name: s.label for selectors in words.values() for s in selectors.values()}
        object.__setattr__(self, "_words", MappingProxyType(words))
        object.__setattr__(self, "_labels", MappingProxyType(labels))
        object.__setattr__(self, "_codesets", frozenset(one.codeset for one in self.lists))

    def lists_of(self, characteristic: str) -> tuple[CodeList, ...]:
        """Return the code lists that can answer a characteristic, the national one first."""
        return tuple(one for one in self.lists if characteristic in one.characteristics)

    def groups_of(self, characteristic: str) -> tuple[str, ...]:
        """Return every listed group of known values of a characteristic, in list order."""
        return tuple(group for one in self.lists_of(characteristic) for group in one.groups())

    def level_of(self, characteristic: str, level: str) -> tuple[PooledGroup, ...]:
        """Return the pooled groups of one level, in list order; empty if there is no such level."""
        return tuple(p for p in self.pooled if p.characteristic == characteristic and p.level == level)

    def label(self, group: str) -> str:
        """Return the printed name of a group; a group of an unlisted local set is its own name."""
        return self._labels.get(group, group)

    def is_listed(self, codeset: str, code: str) -> bool:
        """Tell whether a code is in its list; codes of unlisted ``local:`` sets count as listed.

        Intake calls it to reject codes that no list knows before they open a group of their own.
        """
        if codeset not in self._codesets:
            return codeset.startswith("local:")
        group = group_of(codeset, code, None)
        return is_unknown(group) or group in self._labels

    def resolve_group(self, characteristic: str, text: str) -> GroupSelector:
        """Return what a word selects; case, spaces and punctuation do not matter.

        Args:
            characteristic: One of ``CHARACTERISTICS``.
            text: A pooled name (``BME``), a code (``A``), ``codeset:code``, a label (``White British``), an
                alias
                (``men``), ``unknown`` or ``unknown:<kind>``. A pooled name wins over an equal code or label.

        Returns:
            The selector; for a group of an unlisted ``local:`` set, one that selects exactly this group.

        Raises:
            UnknownCharacteristicError: If there is no such characteristic.
            UnknownGroupError: If the word names nothing; lists what is accepted.
        """
        if characteristic not in CHARACTERISTIC_INDEX:
            raise UnknownCharacteristicError(characteristic)
        words = self._words[characteristic]
        found = words.get(_normalise(text))
        if found is not None:
            return found
        codeset, _, code = text.strip().rpartition(":")
        if code and codeset.startswith("local:") and codeset not in self._codesets:
            group = f"{codeset}:{code}"
            return GroupSelector(characteristic, group, group, frozenset((group,)))
        raise UnknownGroupError(characteristic, text, dict.fromkeys(s.label for s in words.values()))


def _normalise(text: str) -> str:
    return " ".join("".join(c if c.isalnum() or c == "+" else " " for c in text.casefold()).split())


def _words_of(lists: CodeLists, characteristic: str) -> Mapping[str, GroupSelector]:
    """Build word -> selector; earlier words win: pooled names, full groups, codes, labels, aliases, kinds."""
    unknowns = {kind: _one(characteristic, UNKNOWN_PREFIX + kind, kind.replace("_", " ")) for kind in UNKNOWN_KINDS}
    every = frozenset(selector.name for selector in unknowns.values())
    pooled = [
        (word, GroupSelector(characteristic, p.name, p.name, p.groups, is_pooled=True))
        for p in lists.pooled
        if p.characteristic == characteristic
        for word in (p.name, *p.aliases)
    ]
    coded: list[tuple[str, Code, GroupSelector]] = []
    for one in lists.lists_of(characteristic):
        for code in one.codes:
            group = f"{one.codeset}:{code.code}"
            coded.append(
                (
                    group,
                    code,
                    unknowns[code.unknown] if code.unknown else _one(characteristic, group, code.label),
                )
            )
    named = [
        *pooled,
        ("unknown", GroupSelector(characteristic, "unknown", "unknown", every, is_pooled=True)),
        *((selector.name, selector) for selector in unknowns.values()),
        *((group, selector) for group, _, selector in coded),
        *((code.code, selector) for _, code, selector in coded),
        *((code.label, selector) for _, code, selector in coded),
        *((alias, selector) for _, code, selector in coded for alias in code.aliases),
        *unknowns.items(),
    ]
    words: dict[str, GroupSelector] = {}
    for word, selector in named:
        words.setdefault(_normalise(word), selector)
    return MappingProxyType(words)


def _one(characteristic: str, group: str, label: str) -> GroupSelector:
    return GroupSelector(characteristic, group, label, frozenset((group,)))
