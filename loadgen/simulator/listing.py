"""The answer to GET /v1/models in a style: what is served, by whom, how long a context it has. Pure."""

import json

from loadgen.simulator.styles.style import Style

_PERMISSION = b"83489142b066d794"  # any id will do


def models_answer(
    style: Style, models: list[str], owner: str, started: int, context: int, vocabulary: int
) -> tuple[int, bytes, str]:
    """Status, body, content type. A style whose template is no entry of a list is answered with it as it is."""
    status, template, content_type = style.models
    if status != 200:
        return status, template, content_type
    common: dict[bytes, bytes | int] = {
        b"owner": json.dumps(owner).encode(),
        b"root": json.dumps(models[0]).encode(),
        b"permission": _PERMISSION,
        b"created": started,
        b"context": context,
        b"vocabulary": vocabulary,
    }
    entries = [template % (common | {b"model": json.dumps(name).encode()}) for name in models]
    if template.startswith(b'{"models"'):  # llama.cpp serves one model
        return status, entries[0], content_type
    return status, b'{"object":"list","data":[' + b",".join(entries) + b"]}", content_type
