"""The text of a recorded prompt: chat messages, parts and bare prompts of every source as one plain string.

Contents stand in their order with a line between, so what grows by a turn keeps its beginning, and shares its prefix.
"""

from typing import Any

_PARTS = ("content", "text", "value", "parts")
_DEPTH = 6


def prompt_text(request: dict[str, Any]) -> str | None:
    """The prompt of an OpenAI or Anthropic request body; None where there is no text in it."""
    return text_of(request.get("system"), request.get("messages", request.get("prompt", request.get("input"))))


def text_of(*contents: Any) -> str | None:
    """All texts in strings, messages, parts, or lists of them; None where there is none."""
    pieces: list[str] = []
    for content in contents:
        add_texts(pieces, content)
    return "\n".join(pieces) if pieces else None


def add_texts(pieces: list[str], content: Any, depth: int = _DEPTH) -> None:
    """The texts in one of them go behind `pieces`; token ids and pictures have none."""
    if isinstance(content, str):
        if content:
            pieces.append(content)
    elif depth and isinstance(content, list):
        for each in content:
            add_texts(pieces, each, depth - 1)
    elif depth and isinstance(content, dict):
        for key in _PARTS:
            if key in content:
                add_texts(pieces, content[key], depth - 1)
