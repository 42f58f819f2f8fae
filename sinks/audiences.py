"""Who may ask for which view: one bearer token an audience, from the settings or made at the first start."""

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pipeline.errors import TerminalError
from pipeline.settings import Settings

_TOKEN_BYTES: Final = 24


class Audience(StrEnum):
    """Groups of readers; what each may see is declared in the head of every view."""

    RECRUITMENT = "recruitment"
    EQUALITY = "equality"
    EQUALITY_ANALYST = "equality_analyst"
    OPERATIONS = "operations"
    PUBLIC = "public"


class UnknownAudienceError(TerminalError):
    """A token is configured for an audience that does not exist."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            f"PARITYFLOW_BOARDS_TOKENS: expected audiences out of {', '.join(Audience)}, found {', '.join(names)}"
        )


class SharedTokenError(TerminalError):
    """Two audiences have the same token, so a request would not say which it is."""

    def __init__(self, audiences: list[str]) -> None:
        self.audiences = audiences
        super().__init__(
            f"PARITYFLOW_BOARDS_TOKENS: expected a token of its own for each audience, found one that "
            f"{' and '.join(audiences)} share; an empty token counts as one too"
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token of each audience, and where they came from (None: the settings)."""

    by_audience: Mapping[Audience, str]
    file: Path | None = None

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Take the tokens from the settings, or from the file of an earlier start, or make them.

        Raises:
            UnknownAudienceError: an audience is misspelt.
            SharedTokenError: two audiences have one token.
        """
        if settings.boards_tokens:
            return cls(_checked(settings.boards_tokens))
        file = settings.state_dir / "tokens.json"
        if not file.exists():
            tokens = {str(audience): secrets.token_urlsafe(_TOKEN_BYTES) for audience in Audience}
            write_private(file, json.dumps(tokens, indent=2) + "\n")
        return cls(_checked(json.loads(file.read_text("utf-8"))), file)

    def audience_of(self, token: str) -> Audience | None:
        """Return whose token it is, in the same time for every wrong one."""
        found = None
        for audience, expected in self.by_audience.items():
            if hmac.compare_digest(token.encode(), expected.encode()):
                found = audience
        return found


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(file)


def _checked(tokens: Mapping[str, str]) -> dict[Audience, str]:
    unknown = sorted(set(tokens) - set(Audience))
    if unknown:
        raise UnknownAudienceError(unknown)
    for token in tokens.values():
        sharing = sorted(audience for audience, other in tokens.items() if other == token)
        if len(sharing) > 1 or not token:
            raise SharedTokenError(sharing)
    return {Audience(audience): token for audience, token in tokens.items()}
