"""Nobody uses a right of staff for their own account: every such act that benefits an account asks here."""

from foundation import journal
from foundation.errors import NotAllowed
from foundation.lazy_texts import mark


def operator_id() -> int | None:
    """The account of the operator who acts now; None outside of requests, where commands and workers act.
    Raises `NotAllowed` inside a request for which no account is known.
    """
    by = journal.current_actor()
    if by.id is None and by.request_id:
        raise NotAllowed(mark("Only an operator who is signed in may do that."))
    return by.id


def refuse_own(*account_ids: int | None) -> None:
    """Raise `NotAllowed` `own_account` if the operator who acts now is one of the accounts that benefit.

    An API key acts as its maker. Raises what `operator_id` raises.
    """
    own_id = operator_id()
    if own_id is not None and own_id in account_ids:
        raise NotAllowed(
            mark("This would be for your own account: another operator has to do it."), code="own_account"
        )
