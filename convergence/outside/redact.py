"""Takes secrets out of texts that are written down: log lines, stored errors, step reports."""

import json
import re
from urllib.parse import quote

KEY = re.compile(r"(cdp_(?:live|test)_(?:[0-9A-Za-z]{12}_)?|cdp_admin_)[0-9A-Za-z_]{6,}")
MIN_LENGTH = 6
"""A shorter secret is not looked for: it would be found in every second word."""


class Redactor:
    """Knows some secrets by value, and the look of our keys. The public key id stays readable."""

    def __init__(self, *values: str) -> None:
        forms = {form for value in values if len(value) >= MIN_LENGTH for form in _forms(value)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, text: str) -> str:
        return KEY.sub(r"\1[redacted]", self._values.sub("[redacted]", text))


def _forms(value: str) -> set[str]:
    """A secret as it stands in a text, in JSON, in a Python repr and in an address."""
    return {value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe=""), quote(value)}
