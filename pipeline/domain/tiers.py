"""Tiers: which integrated care board, region and nation an organisation counts towards on a day.

The identity of an organisation never moves: records stay under the code they were written with. What changes
is the tree. It says from which day a child hangs from which parent, and from which day one organisation is
continued by another. A year is rolled up by the tree of each of its days, so the figures of a closed year
survive a merger or a new boundary.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from pipeline.errors import TerminalError

NATIONAL: Final = "national"
"""Code of the top node. Every organisation counts towards it, listed or not."""

_Dated = tuple[tuple[int, str | None], ...]


class Tier(StrEnum):
    """The levels of the tree, lowest first."""

    ORGANISATION = "organisation"
    ICB = "icb"
    REGION = "region"
    NATIONAL = "national"


class TierTreeError(TerminalError):
    """The reference tree contradicts itself."""

    def __init__(self, code: str, found: str) -> None:
        self.code = code
        self.found = found
        super().__init__(f"expected a tier tree in which every line reaches a region or ends, found {code} {found}")


@dataclass(frozen=True, slots=True)
class Node:
    """One listed organisation, board or region."""

    code: str
    name: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class Membership:
    """From ``from_day`` on, ``child`` hangs from ``parent``; ``None`` ends the line without a successor."""

    child: str
    parent: str | None
    from_day: int


@dataclass(frozen=True, slots=True)
class Succession:
    """From ``from_day`` on, ``organisation`` is part of ``successor``."""

    organisation: str
    successor: str
    from_day: int


@dataclass(frozen=True, slots=True)
class TierPath:
    """Where an organisation stands on one day.

    ``employer`` is the organisation that answers for it that day: itself, or after a merger its successor.
    """

    organisation: str
    employer: str
    icb: str | None
    region: str | None

    @property
    def nodes(self) -> tuple[tuple[Tier, str], ...]:
        """The tiers it counts towards and the code there, lowest first; missing ones are left out."""
        above = ((Tier.ICB, self.icb), (Tier.REGION, self.region), (Tier.NATIONAL, NATIONAL))
        return (Tier.ORGANISATION, self.employer), *((tier, code) for tier, code in above if code)


@dataclass(frozen=True, slots=True)
class Tiers:
    """The tier tree of one version of the reference data."""

    version: int
    nodes: tuple[Node, ...]
    memberships: tuple[Membership, ...]
    successions: tuple[Succession, ...] = ()
    content_hash: str = ""
    _by_code: Mapping[str, Node] = field(init=False, repr=False, compare=False)
    _parents: Mapping[str, _Dated] = field(init=False, repr=False, compare=False)
    _successors: Mapping[str, _Dated] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_code = {node.code: node for node in self.nodes}
        parents = _dated((m.child, m.from_day, m.parent) for m in self.memberships)
        successors = _dated((s.organisation, s.from_day, s.successor) for s in self.successions)
        _check(self, by_code)
        object.__setattr__(self, "_by_code", MappingProxyType(by_code))
        object.__setattr__(self, "_parents", MappingProxyType(parents))
        object.__setattr__(self, "_successors", MappingProxyType(successors))

    def of_tier(self, tier: Tier) -> tuple[Node, ...]:
        """Return the listed nodes of one tier, in the order of the data."""
        return tuple(node for node in self.nodes if node.tier is tier)

    def name(self, code: str) -> str:
        """Return the name of a node; an unlisted code is its own name."""
        node = self._by_code.get(code)
        return node.name if node else code

    def path(self, organisation: str, day: int) -> TierPath:
        """Return where an organisation stands on a local day.

        Any string is an organisation: one that is not listed, or not yet on that day, has no board and no
        region.

        Examples:
            >>> tiers = Tiers(
            ...     version=1,
            ...     nodes=(Node("Y56", "London", Tier.REGION), Node("QMF", "North East London", Tier.ICB)),
            ...     memberships=(Membership("R1H", "QMF", 0), Membership("QMF", "Y56", 0)),
            ... )
            >>> tiers.path("R1H", 19_000)
            TierPath(organisation='R1H', employer='R1H', icb='QMF', region='Y56')
            >>> tiers.path("ACME", 19_000).nodes[-1]
            (<Tier.NATIONAL: 'national'>, 'national')
        """
        employer = organisation
        while (successor := _at(self._successors, employer, day)) is not None:
            employer = successor
        found: dict[Tier, str] = {}
        code = _at(self._parents, employer, day)
        while code is not None:
            found[self._by_code[code].tier] = code
            code = _at(self._parents, code, day)
        return TierPath(organisation, employer, found.get(Tier.ICB), found.get(Tier.REGION))

    def members(self, code: str, day: int, among: Iterable[str]) -> tuple[str, ...]:
        """Return which of the organisations ``among`` count towards a node on a local day, in their order."""
        return tuple(one for one in among if any(node == code for _, node in self.path(one, day).nodes))


def _dated(rows: Iterable[tuple[str, int, str | None]]) -> dict[str, _Dated]:
    lines: dict[str, list[tuple[int, str | None]]] = {}
    for child, from_day, parent in rows:
        lines.setdefault(child, []).append((from_day, parent))
    return {child: tuple(sorted(line, key=itemgetter(0))) for child, line in lines.items()}


def _at(lines: Mapping[str, _Dated], code: str, day: int) -> str | None:
    line = lines.get(code, ())
    at = bisect_right(line, day, key=itemgetter(0))
    return line[at - 1][1] if at else None


def _check(tiers: Tiers, by_code: Mapping[str, Node]) -> None:
    """Refuse what would make ``path`` wrong or endless.

    Tiers must rise along every line and successions must end: both rule out circles.
    """
    repeated = Counter(node.code for node in tiers.nodes) - Counter(by_code.keys())
    if repeated:
        raise TierTreeError(min(repeated), "listed twice")
    order = tuple(Tier)
    for one in tiers.memberships:
        parent = by_code.get(one.parent) if one.parent else None
        if one.parent and parent is None:
            raise TierTreeError(one.child, f"under {one.parent}, which is not listed")
        child_tier = by_code[one.child].tier if one.child in by_code else Tier.ORGANISATION
        if parent and order.index(parent.tier) <= order.index(child_tier):
            raise TierTreeError(one.child, f"under {one.parent}, which is no higher tier")
    successors = {s.organisation: s.successor for s in tiers.successions}
    for start, successor in successors.items():
        seen, code = {start}, successor
        while code in successors:
            if code in seen:
                raise TierTreeError(start, "succeeded by itself")
            seen.add(code)
            code = successors[code]
