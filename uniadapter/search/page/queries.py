"""What may be asked for, checked before the model sees it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .answers import PageError
from .options import PageOptions

_TAG = re.compile(r"<\s*[/!?]?\s*[a-zA-Z][^<>]*>|<!--")


class Filters(BaseModel):
    """What of the index is searched, and how much is answered."""

    model_config = ConfigDict(extra="forbid")

    topk: int = Field(12, ge=1, description="Results.")
    shortlist: int | None = Field(
        None, ge=0, le=1_000_000, description="Shots that the matching model scores; 0: none."
    )
    folder: str | None = Field(None, max_length=4096, description="Files below this one alone.")
    kind: Literal["video", "image"] | None = Field(None, description="Files of this kind alone.")
    per_file: bool = Field(False, description="The best shot of each file alone.")


class TextQuery(Filters):
    """A search by a sentence."""

    text: str = Field(description="A sentence that says what is to be seen.")


class FileQuery(BaseModel):
    """Which files are listed."""

    model_config = ConfigDict(extra="forbid")

    folder: str = Field("", max_length=4096, description="Files below this one alone.")
    kind: Literal["video", "image"] | None = Field(None, description="Files of this kind alone.")
    offset: int = Field(0, ge=0, le=2**31, description="Files left out in front.")
    limit: int = Field(100, ge=1, le=1000, description="Files listed.")


def checked_text(text: str, options: PageOptions) -> str:
    """A text that can be searched for, without spaces around it.

    Raises:
        PageError: If it is empty, too long, or no plain words.
    """
    if len(text) > options.max_text:
        message = f"The text has {len(text):,} characters; {options.max_text:,} are allowed."
        raise PageError(422, "text_too_long", message)
    text = text.strip()
    if not text:
        raise PageError(422, "text_empty", "The text is empty: say what is to be seen.")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in text):
        raise PageError(422, "text_has_controls", "The text holds control characters.")
    if _TAG.search(text):
        raise PageError(422, "text_is_markup", "The text holds HTML tags: plain words are needed.")
    return text


def filters_of(fields: dict[str, str]) -> Filters:
    """Filters from the fields of a form; empty ones count as absent.

    Raises:
        PageError: If one is wrong.
    """
    try:
        return Filters.model_validate({name: v for name, v in fields.items() if v != ""})
    except ValidationError as error:
        raise PageError(422, "wrong_value", said_of(error.errors())) from error


def said_of(errors: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with which value, without the value itself."""
    parts = []
    for error in errors[:5]:
        place = [str(step) for step in error.get("loc", ()) if step not in ("query", "path")]
        parts.append(f"{'.'.join(place)[:80] or 'request'}: {error.get('msg', 'is wrong')}")
    return "; ".join(parts) + "."
