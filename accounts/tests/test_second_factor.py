"""One-time codes of staff: each is used once, wrong ones are throttled, and what began without one ends."""

import threading
from collections import Counter
from contextlib import ExitStack

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import accounts
from accounts.signing_in import second_factor, sign_ins
from accounts.signing_in.second_factor import OtpInvalid, Verified
from accounts.tests.clients import client_of, problem_of
from accounts.tests.one_time_codes import (
    STEP_SECONDS,
    backup_codes,
    code_for,
    enrolled,
    with_codes,
    wrong_code,
)
from foundation import clock
from foundation.errors import Rejected, Throttled
from foundation.models import JournalLine
from foundation.tests.commands import run
from foundation.tests.factories import PASSWORD, AccountFactory, set_columns, staff_member
from foundation.tests.instants import ago
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race
from foundation.tests.second_process import another_process, read_line, send, starts_another_process
from foundation.tests.waiting import shifted

pytestmark = pytest.mark.django_db

HERE = "192.0.2.1"
# Verifies a code once a line has come on standard input.
VERIFY = """
from django.contrib.auth.models import User
from foundation import clock
from accounts.signing_in import second_factor
from foundation.tests import process_state
process_state.follow_host()
account = User.objects.get(pk=int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(second_factor.verify(account=account, code=sys.argv[2]).method.value, flush=True)
except second_factor.OtpInvalid as error:
    print(error.code, flush=True)
"""


@pytest.fixture(autouse=True)
def _required(settings):
    settings.STAFF_OTP_REQUIRED = True


@pytest.fixture
def olga():
    return with_codes(staff_member(username="olga"))


def sign_in(name: str, otp=None, *, password: str = PASSWORD, address: str = HERE):
    body = {"username": name, "password": password} | ({} if otp is None else {"otp": otp})
    return Client(REMOTE_ADDR=address).post("/api/v1/auth/token", body, content_type="application/json")


def outcome(name: str, otp=None, **given: str) -> tuple[int, str]:
    answer = sign_in(name, otp, **given)
    return answer.status_code, answer.json().get("code", "")


def verify_from(account: User, code: str, network: str) -> str:
    """The code of the refusal of a one-time code, whose sender gave the right password; "" if it is right."""
    try:
        second_factor.verify(
            account=account, code=code, passes_wait=lambda: sign_ins._passes_wait(account.pk, network)
        )
    except (Throttled, OtpInvalid) as error:
        return error.code
    return ""


def lines() -> list[tuple[str, str]]:
    return list(JournalLine.objects.order_by("id").values_list("what", "actor"))


def test_staff_sign_in_with_a_code_and_are_refused_without_one(olga, settings):
    assert outcome("olga") == (401, "otp_required")
    assert outcome("olga", "") == (400, "invalid")
    assert outcome("olga", code_for(olga)) == (200, "")
    # Where codes are not required, only accounts that have them need them.
    settings.STAFF_OTP_REQUIRED = False
    staff_member(username="bob")
    assert outcome("bob") == (200, "")
    assert outcome("olga") == (401, "otp_required")


NO_CODES = ["12345", "1234567", "١٢٣٤٥٦", "12a456", "-12345", "é", "\x00", "0" * 10]


@pytest.mark.parametrize("otp", [123456, 1.5, True, ["123456"], "1" * 33, *NO_CODES])
def test_a_code_is_a_short_string_and_what_is_no_code_is_a_wrong_one(olga, otp):
    assert outcome("olga", otp) == ((401, "otp_invalid") if otp in NO_CODES else (400, "invalid"))


def test_without_the_password_nothing_tells_whether_an_account_needs_a_code(olga):
    AccountFactory(username="ada")
    bodies = {
        str(sign_in(name, otp, password="wrong").json() | {"request_id": ""})
        for name in ("olga", "ada", "unknown")
        for otp in (None, code_for(olga), "000000")
    }

    assert len(bodies) == 1
    assert outcome("olga", code_for(olga)) == (200, "")


def test_customers_need_no_code_and_one_that_they_send_is_not_looked_at():
    AccountFactory(username="ada")

    assert outcome("ada") == (200, "")
    assert outcome("ada", "000000") == (200, "")


def test_staff_without_codes_are_told_to_set_them_up_in_the_admin():
    staff_member(username="olga")

    answer = sign_in("olga", "123456")

    assert problem_of(answer) == (401, "otp_required")
    assert "/admin/" in answer.json()["detail"]


@pytest.mark.parametrize("steps", [-2, -1, 0, 1, 2])
def test_a_code_typed_with_spaces_is_accepted_if_its_clock_is_half_a_minute_off_and_not_a_minute(olga, steps):
    expected = (200, "") if abs(steps) < 2 else (401, "otp_invalid")
    code = code_for(olga, seconds=steps * STEP_SECONDS)
    assert outcome("olga", f" {code[:3]} {code[3:]} ") == expected


def test_a_used_code_and_older_ones_are_refused_and_the_next_one_is_accepted(olga):
    older, used, later = (code_for(olga, seconds=STEP_SECONDS * step) for step in (-1, 0, 1))
    assert outcome("olga", used) == (200, "")

    assert outcome("olga", used) == (401, "otp_invalid")
    with shifted(seconds=2):
        assert outcome("olga", older) == (401, "otp_invalid")
    with shifted(seconds=6):
        assert outcome("olga", later) == (200, "")


def test_each_backup_code_replaces_a_code_once_in_any_case(olga):
    first, second, *others = backup_codes(olga)
    bob = with_codes(staff_member(username="bob"))

    assert outcome("bob", first) == (401, "otp_invalid"), "of another account"
    assert len(backup_codes(bob)) == second_factor.BACKUP_CODES
    assert outcome("olga", first) == (200, "")
    assert outcome("olga", first) == (401, "otp_invalid")
    with shifted(seconds=2):
        assert outcome("olga", f"{second[:5]}-{second[5:]}".upper()) == (200, "")
    assert backup_codes(olga) == others


def test_after_each_wrong_code_none_is_looked_at_for_twice_as_long(olga, monkeypatch):
    began, waits = clock.seconds(), list[int]()
    # It stands still but for the waits: signing in takes seconds on a busy machine.
    monkeypatch.setattr(clock, "seconds", lambda: began + sum(waits))
    for _ in range(12):
        assert outcome("olga", wrong_code(olga), address=f"198.51.100.{len(waits)}")[0] == 401
        refused = sign_in("olga", code_for(olga), address=f"198.51.100.{len(waits)}")
        assert problem_of(refused) == (429, "throttled")
        waits.append(int(refused.headers["Retry-After"]))

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert outcome("olga", code_for(olga)) == (200, "")
    assert TOTPDevice.objects.get().throttling_failure_count == 0


def test_a_wrong_code_while_the_clock_was_ahead_locks_out_for_its_wait_and_not_until_that_instant(olga):
    with shifted(hours=5):
        assert outcome("olga", wrong_code(olga)) == (401, "otp_invalid")

    refused = sign_in("olga", code_for(olga))

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    with shifted(seconds=1):
        assert outcome("olga", code_for(olga)) == (200, "")


def test_wrong_codes_of_a_stranger_with_the_password_do_not_lock_the_owner_out(olga):
    """The wait was of the whole account: a client with the password kept its owner out again and again."""
    stranger, home = "198.51.100.7", "192.0.2.50"
    backups = backup_codes(olga)
    assert outcome("olga", backups[0], address=home) == (200, "")
    for _ in range(6):
        TOTPDevice.objects.update(throttling_failure_timestamp=ago(hours=1))
        assert outcome("olga", wrong_code(olga), address=stranger) == (401, "otp_invalid")

    assert outcome("olga", backups[1], address=stranger) == (429, "throttled")
    assert outcome("olga", backups[1], address=home) == (200, "")
    assert outcome("olga", code_for(olga), address=home) == (200, "")
    # The owner's sign-in gives the stranger no fresh attempts.
    assert outcome("olga", backups[2], address=stranger) == (429, "throttled")
    assert TOTPDevice.objects.get().throttling_failure_count == 6


def test_codes_from_a_known_address_are_limited_during_the_wait_too(olga):
    home = "192.0.2.50"
    backups = backup_codes(olga)
    assert outcome("olga", backups[0], address=home) == (200, "")
    TOTPDevice.objects.update(throttling_failure_count=10, throttling_failure_timestamp=clock.now())
    tried = Counter(
        verify_from(olga, wrong_code(olga), home) for _ in range(sign_ins.CODES_FROM_KNOWN_NETWORK.times + 3)
    )
    assert tried == {"otp_invalid": sign_ins.CODES_FROM_KNOWN_NETWORK.times, "throttled": 3}
    assert verify_from(olga, backups[1], home) == "throttled"
    assert backups[1] in backup_codes(olga)


def test_attempts_during_the_wait_leave_a_bounded_number_of_lines(olga):
    TOTPDevice.objects.update(throttling_failure_count=10, throttling_failure_timestamp=clock.now())
    JournalLine.objects.all().delete()
    for number in range(30):
        assert outcome("olga", code_for(olga), address=f"198.51.100.{number}") == (429, "throttled")
    assert lines() == [("account.otp_not_checked", "anon")] * 20


def test_guessing_codes_counts_as_attempts_to_sign_in(olga):
    assert Counter(sign_in("olga").status_code for _ in range(11)) == {401: 10, 429: 1}


def test_sign_ins_with_codes_leave_lines_that_say_what_was_wrong(olga):
    JournalLine.objects.all().delete()
    code = code_for(olga)

    sign_in("olga")
    sign_in("olga", wrong_code(olga))
    with shifted(seconds=2):
        sign_in("olga", code)

    assert lines() == [
        ("account.otp_missing", "anon"),
        ("account.otp_wrong", "anon"),
        ("account.signed_in", "staff"),
    ]
    assert JournalLine.objects.latest("id").after == {"address": HERE, "second_factor": "totp"}
    assert code not in str(list(JournalLine.objects.values()))


def test_setting_up_is_recorded_without_the_secret_and_happens_once():
    olga = staff_member(username="olga")
    done = enrolled(olga)

    line = journal_line("account.otp_enrolled")
    assert (line.subject, line.after) == (f"account {olga.pk}", {"backup_codes": 10})
    assert len(set(done.backup_codes)) == 10
    device = TOTPDevice.objects.get()
    assert device.key not in str(list(JournalLine.objects.values()))
    with pytest.raises(Rejected, match="already"):
        enrolled(olga)
    # A phone shows another one by now, if its half minute is over.
    used = code_for(olga, seconds=int(device.last_t * device.step - clock.seconds()))
    assert outcome("olga", used) == (401, "otp_invalid"), "the code that confirmed it is used"


@pytest.mark.parametrize("lost", [{"is_staff": False}, {"is_active": False}])
def test_an_account_that_is_not_active_staff_any_more_sets_nothing_up(lost):
    olga = staff_member()
    set_columns(olga, **lost)

    with pytest.raises(accounts.InvalidCredentials):
        enrolled(olga)


@pytest.mark.parametrize("is_backup", [False, True])
def test_of_several_uses_of_a_code_at_once_one_succeeds(transactional_db, olga, is_backup):
    code = backup_codes(olga)[0] if is_backup else code_for(olga)

    outcomes = race([lambda: second_factor.verify(account=olga, code=code)] * 8)

    assert sum(isinstance(each, Verified) for each in outcomes) == 1
    # A use that comes second is a wrong code; further ones are not looked at for a second.
    assert {type(each).__name__ for each in outcomes} <= {"Verified", "OtpInvalid", "OtpNotChecked"}
    assert len(backup_codes(olga)) == second_factor.BACKUP_CODES - is_backup


def test_without_the_lock_both_uses_of_a_code_succeed(transactional_db, olga):
    code, barrier = code_for(olga), threading.Barrier(2)

    def use():
        device = TOTPDevice.objects.get(user=olga)
        barrier.wait(10)
        is_right = second_factor._accept_totp(device, code, clock.now())
        device.save()
        return is_right

    assert race([use, use]) == [True, True]


@starts_another_process
def test_two_processes_accept_a_code_once(transactional_db, olga):
    code = code_for(olga)
    with ExitStack() as running:
        processes = [running.enter_context(another_process(VERIFY, str(olga.pk), code)) for _ in range(2)]
        for process in processes:
            send(process, "go on")
        said = sorted(read_line(process) for process in processes)

    assert said == ["otp_invalid", "totp"]


def test_of_two_set_ups_at_once_one_succeeds(transactional_db):
    olga = staff_member()

    outcomes = race([lambda: enrolled(olga), lambda: enrolled(olga)])

    assert sorted(type(each).__name__ for each in outcomes) == ["Enrolled", "Rejected"]
    assert TOTPDevice.objects.count() == 1
    assert len(backup_codes(olga)) == second_factor.BACKUP_CODES


def refresh(raw: str):
    return client_of().post("/auth/refresh", {"refresh": raw})


def test_the_tokens_of_a_sign_in_with_a_code_are_refreshed_without_one(olga):
    raw = sign_in("olga", code_for(olga)).json()["refresh"]
    for _ in range(3):
        answer = refresh(raw)
        assert answer.status_code == 200
        raw = answer.json()["refresh"]


def test_refresh_tokens_of_staff_from_before_codes_were_required_are_refused(settings):
    settings.STAFF_OTP_REQUIRED = False
    olga, ada = staff_member(username="olga"), AccountFactory(username="ada")
    staffs, customers = (sign_in(name).json()["refresh"] for name in ("olga", "ada"))
    settings.STAFF_OTP_REQUIRED = True

    assert (refresh(staffs).status_code, refresh(staffs).json()["code"]) == (401, "token_invalid")
    answer = refresh(customers)
    assert answer.status_code == 200
    set_columns(ada, is_staff=True)
    assert refresh(answer.json()["refresh"]).status_code == 401
    settings.STAFF_OTP_REQUIRED = False
    raw = sign_in("olga").json()["refresh"]
    with_codes(olga)
    assert refresh(raw).status_code == 401, "from before codes were set up"


def test_a_reset_ends_refresh_tokens_and_the_next_set_up_does_not_revive_them(olga):
    raw = sign_in("olga", code_for(olga)).json()["refresh"]

    assert run("reset_otp", "olga", "--reason", "phone lost") == (
        0,
        "The one-time codes of olga are removed, and its sign-ins end. The next sign-in "
        "at /admin/ by its password sets up new ones: have that done at once, and set a new password "
        "too if it may be known.\n",
    )

    assert refresh(raw).status_code == 401
    with_codes(olga)
    assert refresh(raw).status_code == 401
    assert len(backup_codes(olga)) == second_factor.BACKUP_CODES
    line = journal_line("account.otp_reset")
    assert (line.actor, line.subject) == ("staff", f"account {olga.pk}")
    assert line.after == {"is_enrolled": False, "reason": "phone lost"}
    assert line.actor_name


@pytest.mark.parametrize("name", ["unknown", "bob"])
def test_a_reset_of_what_is_not_there_says_so_and_changes_nothing(olga, name):
    staff_member(username="bob")

    with pytest.raises(CommandError, match="nothing was done"):
        run("reset_otp", name)

    assert TOTPDevice.objects.filter(user=olga).exists()
    assert not times_noted("account.otp_reset")
