"""What a person can mend."""

from __future__ import annotations


class VivavoceError(Exception):
    """Something went wrong that a person can mend; the message is a sentence that names the remedy."""
