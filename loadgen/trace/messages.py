"""The text of a recorded prompt: chat messages, parts and bare prompts of every source as one plain string.

Contents stand in their order with a line between, so what grows by a turn keeps its beginning, and shares its prefix.
"""

from typing import Any

_PARTS = ("content", "text", "value", "parts")


def prompt_text(request: dict[str, Any]) -> str | None:
    """The prompt of an OpenAI or Anthropic request body; None where there is no text in it."""
    found = request.get("messages", request.get("prompt", request.get("input")))
    system = request.get("system")
    pieces = [*text_pieces(system), *text_pieces(found)]
    return "\n".join(pieces) if pieces else None


def text_pieces(content: Any, depth: int = 6) -> list[str]:
    """All texts in a string, a message, a part, or lists of them; token ids and pictures have none."""
    if isinstance(content, str):
        return [content] if content else []
    if depth == 0:
        return []
    if isinstance(content, list):
        return [piece for each in content for piece in text_pieces(each, depth - 1)]
    if isinstance(content, dict):
        return [piece for key in _PARTS if key in content for piece in text_pieces(content[key], depth - 1)]
    return []
