"""Keeps keys and secrets out of whatever is written down."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK = "***"
SHORTEST = 8
"""Characters: a shorter value of a variable is too common a word to be looked for everywhere."""

_NAME = re.compile(
    r"(?:^|[_\W]|(?<=[a-z])(?=[A-Z]))"
    r"(?i:(?:api|access|private|secret|signing|encryption)?[_-]?key|(?:\w+_)?token|secrets?|client_secret|passw(?:or)?d"
    r"|passphrase|passcode|pin|credentials?|(?:proxy-)?authorization|cookies?|set-cookie|headers|jwt|signature|sig)$"
)
_TEXT = re.compile(
    r"""(?ix)
    ((?:\b(?:bearer|api-key)|authorization\W+basic)\s+)(?:[^\s"',;*]{8,}|(?<=basic\s)\S+)  # authorization headers
    | ([a-z][\w+.-]*://)[^/\s"'@?\#]+(?=@)  # user and password of an address
    | ([?&;](?:[\w-]*key|[\w-]*token|[\w-]*secret|passw(?:or)?d|auth\w*|sig(?:nature)?|code|jwt)=)[^&\s"'\#]+
    | \b(?-i:sk|ek|pk|rk)[-_][\w-]{8,}
    | \b(?-i:AQVN)[\w-]{16,} | \b(?-i:t1\.)[\w=-]+\.[\w=-]+ | \b(?-i:y[0-3]_)[\w-]{20,}
    | \b(?-i:eyJ)[\w-]{8,}\.[\w-]+\.[\w-]* | \b(?-i:AKIA|ASIA)[A-Z0-9]{12,} | \b(?-i:AIza)[\w-]{20,}
    | \b(?-i:gh[opsu]_|github_pat_|xox[abprs]-|hf_|glpat-)[\w-]{10,}
    | -----BEGIN[ ][\w ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][\w ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.DOTALL,
)


def is_secret(name: str) -> bool:
    """Tell whether what goes by this name is nobody's business."""
    return bool(_NAME.search(name))


class Mask:
    """Masks what is known to be secret, what looks like it and what is named like it."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        values = sorted({secret for secret in known if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, values))) if values else None

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], known: Iterable[str] = ()) -> Mask:
        """Know the values of the variables that are named like secrets, too."""
        return cls([*known, *(value for name, value in environ.items() if is_secret(name.lower()))])

    def text(self, text: str) -> str:
        """Return the text without secrets; arguments and results of calls are looked into as JSON."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if text.lstrip()[:1] in ("{", "["):
            text = self._json(text)
        return _TEXT.sub(lambda found: f"{found[1] or found[2] or found[3] or ''}{MASK}", text)

    def value(self, value: Any) -> Any:
        """Return decoded JSON without secrets."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {name: self._field(str(name), field) for name, field in value.items()}
            case list() | tuple():
                return [self.value(each) for each in value]
            case _:
                return value

    def _field(self, name: str, field: Any) -> Any:
        if field is None or isinstance(field, bool) or not is_secret(name):
            return self.value(field)
        return dict.fromkeys(field, MASK) if isinstance(field, dict) else MASK

    def _json(self, text: str) -> str:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        masked = self.value(value)
        return text if masked == value else json.dumps(masked, ensure_ascii=False)
