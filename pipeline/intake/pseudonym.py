"""Keyed pseudonyms: personal ids of the source system never reach the log when a key is configured.

HMAC-SHA-256 under a key of the employer, itself derived from the configured key, so that one person's ids at
two employers cannot be joined and an employer's key can be destroyed alone. Without a key the ids pass
unchanged (they may be pseudonyms already) and one warning is logged.
"""

import hashlib
import hmac
from functools import lru_cache

import structlog

_log = structlog.get_logger(__name__)

PSEUDONYM_HEX = 32
"""Length of a pseudonym: 128 bits, no collision to expect below 2**64 ids of one employer."""


def employer_key(key: bytes, organisation: str) -> bytes:
    """Derive the key of one employer from the configured key.

    Args:
        key: the configured secret.
        organisation: employer code, as it stands in the record.

    Returns:
        32 bytes that say nothing about the key or about another employer's.
    """
    return hmac.digest(key, b"parityflow/employer\0" + organisation.encode(), hashlib.sha256)


class Pseudonyms:
    """Replaces application and candidate ids by keyed hashes, each kind in a space of its own."""

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError
        self._derived = lru_cache(maxsize=10_000)(lambda name: employer_key(key, name))

    def application(self, organisation: str, application_id: str) -> str:
        """Return the pseudonym of an application id."""
        return self._pseudonym(organisation, b"application\0", application_id)

    def candidate(self, organisation: str, candidate_id: str) -> str:
        """Return the pseudonym of a candidate id."""
        return self._pseudonym(organisation, b"candidate\0", candidate_id)

    def _pseudonym(self, organisation: str, kind: bytes, raw: str) -> str:
        digest = hmac.digest(self._derived(organisation), kind + raw.encode(), hashlib.sha256)
        return digest.hex()[:PSEUDONYM_HEX]


def pseudonyms_from(key: str | None) -> Pseudonyms | None:
    """Return the pseudonymiser of a configured key; without one say once that ids pass unchanged.

    Args:
        key: the secret text of ``PARITYFLOW_PSEUDONYM_KEY`` or its ``_FILE``, None when neither is set.

    Returns:
        The pseudonymiser, or None.
    """
    if key and key.strip():
        return Pseudonyms(key.strip().encode())
    _warn_once()
    return None


@lru_cache(maxsize=1)
def _warn_once() -> None:
    _log.warning("ids_not_pseudonymised", setting="PARITYFLOW_PSEUDONYM_KEY")
