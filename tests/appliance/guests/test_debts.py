import pytest

from appliance.guests.debts import BURST_S, PAID_PER_S, Ledger


class Rig:
    """A ledger under a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.ledger = Ledger(lambda: self.now_s)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


def test_whoever_is_alone_pays_at_its_own_rate() -> None:
    """A twentieth of a core, until nothing is left."""
    rig = Rig()
    account = rig.ledger.open()
    account.add(1.0)
    rig.pass_s(0.4 / PAID_PER_S)
    left_s = account.owed_s()
    rig.pass_s(1.0 / PAID_PER_S)

    assert pytest.approx(0.6) == left_s
    assert 0 == account.owed_s()


def test_many_pay_no_more_than_one() -> None:
    """Ten apps in debt cost the box what one does."""
    rig = Rig()
    accounts = [rig.ledger.open() for _ in range(10)]
    for account in accounts:
        account.add(1.0)
    rig.pass_s(10.0)

    assert pytest.approx(10 - 10 * PAID_PER_S) == sum(a.owed_s() for a in accounts)


def test_what_one_no_longer_needs_goes_to_the_rest() -> None:
    """When two of four have paid, the others pay twice as fast, within one look at the clock."""
    rig = Rig()
    small, large = ([rig.ledger.open() for _ in range(2)] for _ in range(2))
    for account in small:
        account.add(1.0)
    for account in large:
        account.add(2.0)
    # Each pays a quarter of the total until the small ones owe nothing, then half of it.
    rig.pass_s(4 * 1.0 / PAID_PER_S + 2 * 0.5 / PAID_PER_S)

    assert [0, 0] == [account.owed_s() for account in small]
    assert pytest.approx([0.5, 0.5]) == [account.owed_s() for account in large]


def test_a_suspension_is_told_as_things_stand() -> None:
    """What is owed beyond the burst, at the rate of so many in debt."""
    rig = Rig()
    accounts = [rig.ledger.open() for _ in range(4)]
    for account in accounts:
        account.add(BURST_S + 1.0)

    assert pytest.approx(4 / PAID_PER_S) == accounts[0].suspended_s()


def test_an_app_that_is_gone_holds_up_nobody() -> None:
    """Its debt goes with it."""
    rig = Rig()
    gone, *rest = (rig.ledger.open() for _ in range(3))
    for account in (gone, *rest):
        account.add(1.0)
    gone.close()
    rig.pass_s(10.0)

    assert 0 == gone.owed_s()
    assert pytest.approx(2 - 10 * PAID_PER_S) == sum(a.owed_s() for a in rest)
