"""Fields that name a person: refused with the whole line, never forwarded, not even into the dead letters.

Unknown fields are dropped anyway. These are refused all the same: an export that carries them should not lie
about in files, and whoever made it learns it at the first line and not at an audit.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

_NAMES = frozenset(
    (  # noqa: SIM905 - a list of strings would fill a page
        "name firstname forename forenames givenname middlename lastname surname familyname fullname "
        "maidenname "
        "preferredname knownas initials email emailaddress mail dateofbirth birthdate birthday dob birth "
        "ninumber nino nationalinsurance nationalinsurancenumber address homeaddress postaladdress "
        "addressline1 addressline2 addressline3 street streetaddress town postcode zipcode "
        "phone phonenumber telephone telephonenumber mobile mobilenumber mobilephone fax "
        "nhsnumber passport passportnumber passportno drivinglicence drivinglicencenumber "
        "photo photograph signature cv resume coverletter supportingstatement linkedin linkedinurl ipaddress "
        "ssn socialsecuritynumber"
    ).split()
)
_PREFIXES = ("candidate", "applicant", "person", "home", "personal", "contact", "user", "employee", "uk")

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_NI_NUMBER = re.compile(r"[A-Z]{2}\s?\d\d\s?\d\d\s?\d\d\s?[A-D]", re.IGNORECASE)
_NI_LENGTHS = range(9, 14)
_KEYS = re.compile(rb'"([^"\\]{1,60})"\s*:')

MAX_DEPTH = 8
"""How deep unknown objects are searched: exports nest two or three levels."""


@lru_cache(maxsize=10_000)
def is_personal_field(name: str) -> bool:
    """Tell whether a field's name looks like personal data (``Date of birth``, ``candidate_email``).

    Example:
        >>> is_personal_field("Date of birth"), is_personal_field("candidate_email")
        (True, True)
    """
    word = "".join(c for c in name.casefold() if c.isalnum())
    if word in _NAMES:
        return True
    return any(word.startswith(prefix) and word[len(prefix) :] in _NAMES for prefix in _PREFIXES)


def personal_field_in(name: str, value: Any, depth: int = 0) -> str | None:
    """Return the first personal-looking field of an unknown field and all that lies in it, as a dotted path.

    Args:
        name: the unknown field.
        value: what JSON gave for it.
        depth: how deep the search already is.

    Returns:
        The path (``candidate.email``), or None.
    """
    if is_personal_field(name):
        return name
    if depth < MAX_DEPTH:
        for inner, content in _fields_of(value):
            found = personal_field_in(inner, content, depth + 1)
            if found is not None:
                return f"{name}.{found}"
    return None


def looks_personal(identifier: str) -> bool:
    """Tell whether an id is itself personal data: an e-mail address or a National Insurance number.

    Example:
        >>> looks_personal("jo@example.org"), looks_personal("QQ 12 34 56 C"), looks_personal("A-20417")
        (True, True, False)
    """
    if "@" in identifier:
        return _EMAIL.fullmatch(identifier) is not None
    return len(identifier) in _NI_LENGTHS and _NI_NUMBER.fullmatch(identifier) is not None


def may_hold_personal_data(line: bytes) -> bool:
    """Tell whether text that is no valid record shows a personal-looking field name or an e-mail address."""
    if b"@" in line:
        return True
    return any(is_personal_field(key.decode("utf-8", "replace")) for key in _KEYS.findall(line))


def _fields_of(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        for item in value:
            yield from _fields_of(item)
