"""Claims about groups and the words that select them."""

import pytest

from pipeline import reference
from pipeline.domain.codes import (
    CHARACTERISTICS,
    UNKNOWN_CODES,
    UNKNOWN_KINDS,
    UNKNOWN_NOT_KNOWN,
    UnknownCharacteristicError,
    UnknownGroupError,
    UnknownKindError,
    group_of,
    is_unknown,
)
from pipeline.errors import TerminalError

LISTS = reference.code_lists()
ETHNIC_KNOWN = "ABCDEFGHJKLMNPRS"


def test_a_code_is_counted_with_its_code_set() -> None:
    assert group_of("nhs_religion", "C", None) == "nhs_religion:C"
    assert group_of("nhs_ethnic_category", "C", None) == "nhs_ethnic_category:C"
    assert group_of("local:broad_ethnic_group", "White", None) == "local:broad_ethnic_group:White"


@pytest.mark.parametrize("kind", UNKNOWN_KINDS)
def test_each_kind_of_absence_is_its_own_group(kind: str) -> None:
    group = group_of(None, None, kind)
    assert group == f"unknown:{kind}"
    assert is_unknown(group)


def test_no_answer_at_all_and_a_bare_code_are_not_known() -> None:
    assert group_of(None, None, None) == group_of(None, "A", None) == group_of("", "", None) == UNKNOWN_NOT_KNOWN


def test_an_absence_wins_over_a_code() -> None:
    assert group_of("nhs_ethnic_category", "A", "withdrawn") == "unknown:withdrawn"


def test_an_invented_kind_is_a_terminal_error_that_lists_the_kinds() -> None:
    with pytest.raises(UnknownKindError, match="not_asked, no_response") as caught:
        group_of(None, None, "forgot")
    assert isinstance(caught.value, TerminalError)


def test_not_stated_is_declined_and_99_is_not_known() -> None:
    assert group_of("nhs_ethnic_category", "Z", None) == "unknown:declined"
    assert group_of("nhs_ethnic_category", "99", None) == "unknown:not_known"


def test_the_unknown_codes_of_the_lists_are_those_of_the_core() -> None:
    listed = {(one.codeset, code.code): code.unknown for one in LISTS.lists for code in one.codes if code.unknown}
    assert listed == dict(UNKNOWN_CODES)


@pytest.mark.parametrize(("sub_code", "letter"), [("CA", "C"), ("C2", "C"), ("GA", "G"), ("PD", "P")])
def test_esr_sub_codes_are_counted_under_their_letter(sub_code: str, letter: str) -> None:
    assert group_of("nhs_ethnic_category", sub_code, None) == f"nhs_ethnic_category:{letter}"


def test_letters_of_other_lists_have_no_sub_codes() -> None:
    assert group_of("local:team", "CA", None) == "local:team:CA"


def test_every_characteristic_has_a_list_and_every_list_a_source() -> None:
    for characteristic in CHARACTERISTICS:
        assert LISTS.lists_of(characteristic), characteristic
        assert LISTS.groups_of(characteristic)
    assert all(one.source for one in LISTS.lists)


def test_pooled_ethnic_groups_are_those_of_the_workforce_race_equality_standard() -> None:
    white = LISTS.resolve_group("ethnicity", "White")
    bme = LISTS.resolve_group("ethnicity", "BME")
    assert white.is_pooled
    assert {g for g in white.groups if g.startswith("nhs")} == {f"nhs_ethnic_category:{c}" for c in "ABC"}
    assert {g for g in bme.groups if g.startswith("nhs")} == {f"nhs_ethnic_category:{c}" for c in ETHNIC_KNOWN[3:]}
    assert white.matches("local:broad_ethnic_group:White")
    assert not bme.matches("unknown:declined")


@pytest.mark.parametrize(("level", "size"), [("broad", 5), ("binary", 2)])
def test_each_level_parts_the_known_ethnic_groups(level: str, size: int) -> None:
    pooled = LISTS.level_of("ethnicity", level)
    assert len(pooled) == size
    assert sum(len(p.groups) for p in pooled) == len(frozenset().union(*(p.groups for p in pooled)))
    assert frozenset().union(*(p.groups for p in pooled)) == frozenset(LISTS.groups_of("ethnicity"))


@pytest.mark.parametrize(
    ("characteristic", "text", "group"),
    [
        ("ethnicity", "A", "nhs_ethnic_category:A"),
        ("ethnicity", "nhs_ethnic_category:A", "nhs_ethnic_category:A"),
        ("ethnicity", "white british", "nhs_ethnic_category:A"),
        ("ethnicity", "White - British", "nhs_ethnic_category:A"),
        ("ethnicity", "Black African", "nhs_ethnic_category:N"),
        ("ethnicity", "local:broad_ethnic_group:White", "local:broad_ethnic_group:White"),
        ("ethnicity", "Z", "unknown:declined"),
        ("ethnicity", "99", "unknown:not_known"),
        ("ethnicity", "unknown:withdrawn", "unknown:withdrawn"),
        ("sex", "1", "nhs_stated_gender:1"),
        ("sex", "MALE", "nhs_stated_gender:1"),
        ("sex", "men", "nhs_stated_gender:1"),
        ("sex", "women", "nhs_stated_gender:2"),
        ("disability", "yes", "nhs_disability:yes"),
        ("disability", "non-disabled", "nhs_disability:no"),
        ("age", "16-24", "age_band:16-24"),
        ("age", "65+", "age_band:65+"),
        ("religion", "M", "unknown:declined"),
        ("religion", "muslim", "nhs_religion:G"),
        ("sexual_orientation", "9", "unknown:not_known"),
        ("marital_status", "M", "nhs_marital_status:M"),
        ("gender_reassignment", "Yes", "yes_no:yes"),
        ("pregnancy_maternity", "no", "yes_no:no"),
        ("ethnicity", "local:site_form:Cornish", "local:site_form:Cornish"),
    ],
)
def test_a_word_selects_one_group(characteristic: str, text: str, group: str) -> None:
    selector = LISTS.resolve_group(characteristic, text)
    assert selector.groups == {group}
    assert selector.name == group
    assert not selector.is_pooled


@pytest.mark.parametrize("text", ["bme", "BAME", " BME "])
def test_pooled_names_ignore_case(text: str) -> None:
    assert LISTS.resolve_group("ethnicity", text).name == "BME"


def test_unknown_selects_every_kind_of_absence() -> None:
    assert LISTS.resolve_group("sex", "unknown").groups == {f"unknown:{kind}" for kind in UNKNOWN_KINDS}


def test_a_word_that_names_nothing_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(UnknownGroupError, match=r"found 'Martian'.*BME.*White British"):
        LISTS.resolve_group("ethnicity", "Martian")
    with pytest.raises(UnknownGroupError, match="Male"):
        LISTS.resolve_group("sex", "A")
    with pytest.raises(UnknownGroupError):
        LISTS.resolve_group("ethnicity", "local:broad_ethnic_group:Purple")
    with pytest.raises(UnknownGroupError):
        LISTS.resolve_group("ethnicity", "")


def test_a_characteristic_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(UnknownCharacteristicError, match="ethnicity, disability, sex"):
        LISTS.resolve_group("height", "tall")


def test_every_group_has_a_label_and_an_unlisted_one_is_its_own() -> None:
    assert LISTS.label("nhs_ethnic_category:A") == "White British"
    assert LISTS.label("unknown:no_response") == "no response"
    assert LISTS.label("local:site_form:Cornish") == "local:site_form:Cornish"


def test_every_code_label_and_alias_reaches_its_own_group() -> None:
    for one in LISTS.lists:
        for characteristic in one.characteristics:
            for code in one.codes:
                group = group_of(one.codeset, code.code, None)
                for word in (f"{one.codeset}:{code.code}", code.label, *code.aliases):
                    assert group in LISTS.resolve_group(characteristic, word).groups, word


def test_codes_that_no_list_has_are_told_apart_from_local_ones() -> None:
    assert LISTS.is_listed("nhs_ethnic_category", "A")
    assert LISTS.is_listed("nhs_ethnic_category", "CA")
    assert LISTS.is_listed("nhs_ethnic_category", "Z")
    assert not LISTS.is_listed("nhs_ethnic_category", "I")
    assert not LISTS.is_listed("local:broad_ethnic_group", "Purple")
    assert LISTS.is_listed("local:anything", "at all")
    assert not LISTS.is_listed("nhs_invented", "1")


def test_the_content_hash_depends_on_content_not_on_layout() -> None:
    assert reference.hash_of({"a": 1, "b": 2}) == reference.hash_of({"b": 2, "a": 1})
    assert reference.hash_of({"a": 1}) != reference.hash_of({"a": 2})
    assert reference.content_hashes()["code_lists"] == LISTS.content_hash
