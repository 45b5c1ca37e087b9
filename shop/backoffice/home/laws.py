"""The home page's section of the laws: whether each holds, and how old that answer is."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shop import clock
from shop.backoffice.board import readings
from shop.backoffice.board.readings import LawState
from shop.backoffice.home.parts import ROWS_SHOWN, Row, Section, State, age, ago
from shop.backoffice.page_elements import link
from shop.management.laws import LAWS
from shop.operators.display import status_label

AUDITS_MISSED = 3
"""An answer that is older than so many audits is too old."""
STATUSES = "admin:shop_lawstatus_changelist"


def laws(request: HttpRequest) -> Section:
    """The broken laws; if none is, how old the oldest answer is."""
    states = {state.law: state for state in readings.read_laws()}
    known = [state for law in LAWS if (state := states.get(law)) and state.holds is not None]
    broken = [state for state in known if not state.holds]
    unknown = [law for law in LAWS if law not in {state.law for state in known}]
    checked = [state.checked_at for state in known if state.checked_at]
    oldest_at = min(checked, default=None)
    trusted = timedelta(seconds=AUDITS_MISSED * settings.AUDIT_SECONDS)
    is_old = bool(trusted and oldest_at and clock.now() - oldest_at > trusted)
    notes = []
    if not broken and not unknown and not is_old:
        notes.append(_("Nothing to do: every law holds."))
    if unknown:
        notes.append(_("Not audited yet: %(laws)s.") % {"laws": ", ".join(unknown)})
    if oldest_at:
        text = _("The oldest answer is %(age)s old, which is too old: look at the audit.")
        notes.append((text if is_old else _("The oldest answer is %(age)s old.")) % {"age": age(oldest_at)})
    return Section(
        name="laws",
        title=_("Laws"),
        icon="gavel",
        state=State.ALARM if broken else State.WORK if unknown or is_old else State.CALM,
        number=f"{len(broken)}" if broken else f"{len(known)}/{len(LAWS)}",
        unit=ngettext("is broken", "are broken", len(broken)) if broken else _("hold"),
        note=" ".join(notes),
        rows=[_law_row(state) for state in broken[:ROWS_SHOWN]],
        links=[link(_("All laws"), STATUSES)],
    )


def _law_row(state: LawState) -> Row:
    offenders = ngettext("%(count)s offender", "%(count)s offenders", state.offenders)
    parts = [_(LAWS[state.law]), offenders % {"count": state.offenders}]
    if state.checked_at:
        parts.append(_("checked %(ago)s") % {"ago": ago(state.checked_at)})
    return Row(
        link=link(state.law, "admin:shop_lawstatus_change", state.law),
        label=status_label("broken"),
        detail=" · ".join(str(part) for part in parts),
    )
