"""Reference data: versioned code lists and the tier tree, read once and handed to the pure core.

The files beside this module are data, not code: a new code or a merger of trusts is a new version of a file.
Each loaded object carries ``content_hash``, which a ``Control`` record of kind ``content`` states so that a
replay can tell under which lists it counted.
"""

import hashlib
import json
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from pipeline.domain.codes import Code, CodeList, CodeLists, GroupSelector, PooledGroup
from pipeline.domain.tiers import Membership, Node, Succession, Tier, Tiers
from pipeline.domain.windows import date_to_day

CODE_LISTS = "code_lists.json"
TIER_TREE = "tier_tree.json"


def hash_of(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a document's content; layout and key order do not change it."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def code_lists() -> CodeLists:
    """Return the code lists that ship with this version."""
    document = _read(CODE_LISTS)
    lists = tuple(
        CodeList(
            codeset=one["codeset"],
            characteristics=tuple(one["characteristics"]),
            codes=tuple(
                Code(c["code"], c["label"], tuple(c.get("aliases", ())), c.get("unknown")) for c in one["codes"]
            ),
            source=one["source"],
        )
        for one in document["code_sets"]
    )
    pooled = tuple(
        PooledGroup(p["characteristic"], p["name"], p["level"], frozenset(p["groups"]), tuple(p.get("aliases", ())))
        for p in document["pooled_groups"]
    )
    return CodeLists(document["version"], lists, pooled, hash_of(document))


@cache
def tiers() -> Tiers:
    """Return the tier tree of England that ships with this version."""
    document = _read(TIER_TREE)
    start = _day(document["valid_from"])
    sections = (("regions", Tier.REGION), ("icbs", Tier.ICB), ("organisations", Tier.ORGANISATION))
    listed = [(one, tier) for section, tier in sections for one in document[section]]
    return Tiers(
        version=document["version"],
        nodes=tuple(Node(one["code"], one["name"], tier) for one, tier in listed),
        memberships=(
            *(Membership(one["code"], one["parent"], start) for one, _ in listed if one.get("parent")),
            *(Membership(one["child"], one["parent"], _day(one["from"])) for one in document["moves"]),
        ),
        successions=tuple(
            Succession(one["organisation"], one["successor"], _day(one["from"])) for one in document["successions"]
        ),
        content_hash=hash_of(document),
    )


def resolve_group(characteristic: str, text: str) -> GroupSelector:
    """Return what a word selects under the shipped lists; see ``CodeLists.resolve_group``."""
    return code_lists().resolve_group(characteristic, text)


def content_hashes() -> dict[str, str]:
    """Return content name -> hash of every reference file, as ``Control`` records state them."""
    return {"code_lists": code_lists().content_hash, "tier_tree": tiers().content_hash}


def _day(text: str) -> int:
    return date_to_day(date.fromisoformat(text))


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return document
