"""What a person can mend, apart from what is a fault of the platform."""

from __future__ import annotations


class Mendable(Exception):
    """Something that the person at the keyboard can do something about; the text says what, in one line."""
