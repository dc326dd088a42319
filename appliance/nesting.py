"""How deep a JSON text nests, found without parsing it: parsers recurse, and so do validators."""

import re

from appliance.errors import BadRequest

MAX_DEPTH = 32

# A string counts as one thing, whatever brackets are in it; one without an end goes to the end.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def check_nesting(text: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Refuse a text whose arrays and objects nest deeper than max_depth.

    Whether it is JSON at all is the parser's to say.
    Raises: BadRequest.
    """
    if text.count(b"[") + text.count(b"{") <= max_depth:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise BadRequest(f"body: JSON nested deeper than {max_depth}, wanted at most that")
        elif first in b"]}":
            depth -= 1
