"""Finding accounts as operators name them: by the beginning of a name or an e-mail address, or by number."""

from django.contrib.auth.models import User

from shop.normalization import spellings

LONGEST_NUMBER = 19
"""The digits of the largest account's number."""


def find_ids(term: str, *, most: int) -> set[int]:
    """The accounts that the term finds, so many of each kind, each by an index."""
    # Together in one condition they would have the database read all accounts.
    searches = [
        User.objects.filter(**{f"{column}__istartswith": spelling}).order_by(column)
        for spelling in spellings(term)
        for column in ("username", "email")
    ]
    if term.isascii() and term.isdigit() and len(term) <= LONGEST_NUMBER:
        searches.append(User.objects.filter(pk=int(term)))
    return {pk for found in searches for pk in found.values_list("pk", flat=True)[:most]}
