"""Nobody uses a right of staff for their own account.

Every act by such a right that benefits an account asks here.
"""

from shop.errors import NotAllowed
from shop.events import journal
from shop.lazy_texts import mark as _


def refuse_own(*account_ids: int | None) -> None:
    """Raise `NotAllowed` `own_account` if the operator who acts now is one of the accounts that benefit.

    An API key acts as its maker. Commands run without an account, so they are not refused.
    """
    own_id = journal.current_actor().id
    if own_id is not None and own_id in account_ids:
        raise NotAllowed(
            _("This would be for your own account: another operator has to do it."), code="own_account"
        )
