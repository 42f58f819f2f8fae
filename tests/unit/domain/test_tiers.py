"""Claims about the tier tree: who counts towards which board, region and nation on which day."""

from datetime import date

import pytest

from pipeline import reference
from pipeline.domain.tiers import (
    NATIONAL,
    Membership,
    Node,
    Succession,
    Tier,
    TierPath,
    Tiers,
    TierTreeError,
)
from pipeline.domain.windows import date_to_day, wres_year_of

ENGLAND = reference.tiers()
REGIONS = {"Y56", "Y58", "Y59", "Y60", "Y61", "Y62", "Y63"}
TODAY = date_to_day(date(2024, 6, 1))


def tree(*memberships: Membership, successions: tuple[Succession, ...] = ()) -> Tiers:
    nodes = (
        Node("Y1", "Region", Tier.REGION),
        Node("QA", "Board A", Tier.ICB),
        Node("QB", "Board B", Tier.ICB),
        Node("RA", "Trust A", Tier.ORGANISATION),
    )
    boards = (Membership("QA", "Y1", 0), Membership("QB", "Y1", 0))
    return Tiers(1, nodes, boards + memberships, successions)


def test_england_has_42_boards_in_7_regions_each_board_in_exactly_one() -> None:
    boards, regions = ENGLAND.of_tier(Tier.ICB), ENGLAND.of_tier(Tier.REGION)
    assert {region.code for region in regions} == REGIONS
    assert len({board.code for board in boards}) == len({board.name for board in boards}) == len(boards) == 42
    parents = [(m.child, m.parent) for m in ENGLAND.memberships if m.child in {board.code for board in boards}]
    assert len(parents) == 42
    assert {parent for _, parent in parents} == REGIONS


@pytest.mark.parametrize(
    ("region", "boards"), [("Y56", 5), ("Y58", 7), ("Y59", 6), ("Y60", 11), ("Y61", 6), ("Y62", 3), ("Y63", 4)]
)
def test_each_region_has_its_number_of_boards(region: str, boards: int) -> None:
    assert sum(m.parent == region and m.child.startswith("Q") for m in ENGLAND.memberships) == boards


@pytest.mark.parametrize(
    ("trust", "board", "region"),
    [
        ("R1H", "QMF", "Y56"),  # Barts
        ("RJ1", "QKK", "Y56"),  # Guy's and St Thomas'
        ("R0A", "QOP", "Y62"),  # Manchester
        ("RXN", "QE1", "Y62"),  # Lancashire Teaching Hospitals
        ("RNN", "QHM", "Y63"),  # North Cumbria lies with the North East
        ("RGT", "QUE", "Y61"),  # Addenbrooke's
        ("RRK", "QHL", "Y60"),
        ("RDU", "QNQ", "Y59"),  # Frimley
        ("RH8", "QJK", "Y58"),
        ("RYA", None, "Y60"),  # an ambulance service over six boards hangs from its region
        ("X24", None, None),  # NHS England itself
    ],
)
def test_known_employers_stand_under_their_board_and_region(trust: str, board: str | None, region: str | None) -> None:
    assert ENGLAND.path(trust, TODAY) == TierPath(trust, trust, board, region)


def test_every_listed_trust_but_the_centre_has_a_region() -> None:
    trusts = [node.code for node in ENGLAND.of_tier(Tier.ORGANISATION)]
    assert len(trusts) > 150
    assert [code for code in trusts if ENGLAND.path(code, TODAY).region is None] == ["X24"]


def test_an_organisation_that_nobody_listed_counts_for_itself_and_the_nation() -> None:
    path = ENGLAND.path("Acme Care Homes Ltd", TODAY)
    assert path.nodes == ((Tier.ORGANISATION, "Acme Care Homes Ltd"), (Tier.NATIONAL, NATIONAL))
    assert ENGLAND.name("Acme Care Homes Ltd") == "Acme Care Homes Ltd"
    assert ENGLAND.name("R1H") == "Barts Health NHS Trust"


def test_boards_do_not_exist_before_july_2022() -> None:
    start = date_to_day(date(2022, 7, 1))
    assert ENGLAND.path("R1H", start).icb == "QMF"
    assert ENGLAND.path("R1H", start - 1).icb is None


def test_a_merged_trust_keeps_its_records_and_is_answered_for_by_its_successor() -> None:
    merger = date_to_day(date(2023, 7, 1))
    assert ENGLAND.path("RVY", merger - 1).employer == "RVY"
    assert ENGLAND.path("RVY", merger) == TierPath("RVY", "RBN", "QYG", "Y62")
    assert ENGLAND.path("RVY", merger).nodes[0] == (Tier.ORGANISATION, "RBN")


def test_a_year_still_adds_up_after_a_move_to_another_board() -> None:
    move = date_to_day(date(2024, 10, 1))
    tiers = tree(Membership("RA", "QA", 0), Membership("RA", "QB", move))
    year = wres_year_of(move)
    days = range(year.start_day, year.end_day)
    under = {board: sum(bool(tiers.members(board, day, ["RA", "other"])) for day in days) for board in ("QA", "QB")}
    assert under == {"QA": move - year.start_day, "QB": year.end_day - move}
    assert all(tiers.members("Y1", day, ["RA", "other"]) == ("RA",) for day in days)
    assert all(tiers.members(NATIONAL, day, ["RA", "other"]) == ("RA", "other") for day in days)


def test_mergers_of_merged_trusts_are_followed_to_the_end() -> None:
    chain = (Succession("R0", "R1", 10), Succession("R1", "RA", 20))
    tiers = tree(Membership("RA", "QA", 0), Membership("R0", "QB", 0), successions=chain)
    assert [tiers.path("R0", day).employer for day in (9, 10, 19, 20)] == ["R0", "R1", "R1", "RA"]
    assert [tiers.path("R0", day).icb for day in (9, 10, 20)] == ["QB", None, "QA"]


def test_a_line_can_end() -> None:
    tiers = tree(Membership("RA", "QA", 0), Membership("RA", None, 5))
    assert [tiers.path("RA", day).icb for day in (4, 5)] == ["QA", None]


@pytest.mark.parametrize(
    ("membership", "found"),
    [
        (Membership("RA", "QZ", 0), "RA under QZ, which is not listed"),
        (Membership("QA", "QB", 0), "QA under QB, which is no higher tier"),
        (Membership("Y1", "QA", 0), "Y1 under QA, which is no higher tier"),
        (Membership("QA", "RA", 0), "QA under RA, which is no higher tier"),
    ],
)
def test_a_tree_that_contradicts_itself_is_refused(membership: Membership, found: str) -> None:
    with pytest.raises(TierTreeError, match=found):
        tree(membership)


def test_circular_successions_and_repeated_nodes_are_refused() -> None:
    with pytest.raises(TierTreeError, match="succeeded by itself"):
        tree(successions=(Succession("R1", "R2", 0), Succession("R2", "R1", 5)))
    with pytest.raises(TierTreeError, match="RA listed twice"):
        Tiers(1, (Node("RA", "A", Tier.ORGANISATION), Node("RA", "B", Tier.ORGANISATION)), ())


def test_the_tree_has_a_content_hash_of_its_own() -> None:
    hashes = reference.content_hashes()
    assert hashes["tier_tree"] == ENGLAND.content_hash != hashes["code_lists"]
    assert len(ENGLAND.content_hash) == 64
