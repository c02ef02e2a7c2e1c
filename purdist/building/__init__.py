"""One term of a loss, built by its spec in a program of its own: its code, digests and ops."""

from purdist.building.additions import Additions, name_under
from purdist.building.digests import Digest, digests_of
from purdist.building.terms import Term, build_term, is_ours

__all__ = [
    "Additions",
    "Digest",
    "Term",
    "build_term",
    "digests_of",
    "is_ours",
    "name_under",
]
