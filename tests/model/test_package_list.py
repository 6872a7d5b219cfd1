"""What users do to a list of packages, in examples: R-2.6, and SOFTWARE-SETS L1 to L13."""

from __future__ import annotations

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.package_list import (
    Change,
    PackageList,
    Reason,
    Step,
    StepKind,
    activate,
    change_version,
    regress,
    remove,
    reorder,
    settle,
)
from tests.model.software import package

BASE = package("base 12")
SSL = package("ssl 3.0.1", local=["base"])
SSL_2 = package("ssl 3.0.2", local=["base"])
WEB = package("web 2.1", local=["ssl >= 3", "base"])
TOOLS = package("tools 1")
FIX = package("ssl-fix 1", upgrades=["ssl = 3.0.1"])
FIX_B = package("ssl-fix-b 1", upgrades=["ssl >= 3, < 3.1"])


def names(change: Change | PackageList) -> str:
    packages = change.packages if isinstance(change, Change) else change
    return " ".join(one.name for one in packages.packages)


def steps(change: Change) -> list[str]:
    return [f"{one.kind.value} {one.package}" for one in change.steps]


def test_the_worked_example_of_the_page() -> None:
    """R-2.6 [95]: base last, applications first; upgrades before what they upgrade; orphaned ones dropped."""
    one = activate(PackageList(), WEB, SSL, BASE)
    assert names(one) == "web ssl base"
    two = activate(one.packages, TOOLS)
    assert names(two) == "tools web ssl base"
    three = activate(two.packages, FIX)
    assert names(three) == "tools web ssl-fix ssl base"
    four = activate(three.packages, FIX_B)
    assert names(four) == "tools web ssl-fix-b ssl-fix ssl base"
    five = change_version(four.packages, SSL_2)
    assert names(five) == "tools web ssl-fix-b ssl base"
    assert five.steps == (
        Step(StepKind.CHANGED, SSL_2, Reason.ASKED, was=SSL),
        Step(StepKind.DROPPED, FIX, Reason.ORPHANED, because=(SSL_2,), was=FIX),
    )
    six = regress(five.packages, SSL)
    assert names(six) == "tools web ssl-fix-b ssl base" and steps(six) == ["changed ssl 3.0.1"]
    with pytest.raises(UsageError) as refused:
        reorder(six.packages, ["web", "tools", "ssl", "ssl-fix-b", "base"])
    assert str(refused.value) == (
        "package ssl-fix-b 1: the order breaks a rule: expected before ssl 3.0.1, which it upgrades, "
        "found place 4, behind place 3 (name ssl-fix-b before ssl)"
    )
    seven = remove(six.packages, "base")
    assert names(seven) == "tools web ssl-fix-b ssl" and steps(seven) == ["removed base 12"]


def test_a_new_package_stands_before_everything_it_depends_on_and_says_why() -> None:
    """R-2.6 [95]: a newly activated package is added before all of the packages that it depends on."""
    a, b, c = package("a 1"), package("b 1"), package("c 1")
    new = package("new 1", local=["c", "b"])
    change = activate(PackageList((a, b, c)), new)
    assert names(change) == "a new b c"
    assert change.steps == (Step(StepKind.ADDED, new, Reason.BEFORE_OTHERS, because=(b,)),)


def test_a_base_goes_to_the_end_and_an_application_to_the_front() -> None:
    app, other = package("app 1", local=["base"]), package("other 1")
    change = activate(PackageList((app, other)), BASE)
    assert names(change) == "app other base" and change.steps[0].reason is Reason.BASE
    assert change.steps[0].because == (app,)
    change = activate(change.packages, TOOLS)
    assert names(change) == "tools app other base" and change.steps[0].reason is Reason.APPLICATION


def test_a_new_package_between_two_stands_between_them() -> None:
    web, base = package("web 1", local=["ssl"]), package("base 1")
    change = activate(PackageList((web, package("x 1"), base)), SSL)
    assert names(change) == "web x ssl base"


def test_others_move_only_when_no_order_lets_them_stay() -> None:
    y, a, b, x = package("y 1"), package("a 1"), package("b 1"), package("x 1", local=["n"])
    n = package("n 1", local=["y"])
    change = activate(PackageList((y, a, b, x)), n)
    assert names(change) == "a b x n y"
    assert steps(change) == ["added n 1", "moved y 1"]
    assert change.steps[1].reason is Reason.ORDER and change.steps[1].because == (n,)


def test_packages_named_together_stand_in_the_order_they_were_named_in() -> None:
    a, b, c = package("a 1"), package("b 1", local=["c"]), package("c 1")
    assert names(activate(PackageList((TOOLS,)), a, b, c)) == "a b c tools"
    assert names(activate(PackageList((TOOLS,)), c, a, b)) == "b c a tools"


def test_an_upgrade_is_activated_together_with_the_version_that_it_upgrades() -> None:
    change = activate(PackageList((SSL_2, BASE)), FIX, SSL)
    assert names(change) == "ssl-fix ssl base" and steps(change) == ["added ssl-fix 1", "changed ssl 3.0.1"]


@pytest.mark.parametrize(("there", "found"), [((), "none of them"), ((SSL_2,), "ssl 3.0.2")])
def test_an_upgrade_of_what_is_not_there_is_refused(there: tuple, found: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError) as refused:
        activate(PackageList(there), FIX)
    error = refused.value
    assert (error.where, error.expected, error.found) == ("package ssl-fix 1", "ssl (= 3.0.1)", found)


def test_an_upgrade_is_dropped_though_it_still_fits_another_package() -> None:
    """Its files for the old version would hide those of the new one."""
    both = package("both 1", upgrades=["ssl = 3.0.1", "web"])
    change = change_version(PackageList((both, WEB, SSL, BASE)), SSL_2)
    assert steps(change) == ["changed ssl 3.0.2", "dropped both 1"]


def test_what_a_dropped_upgrade_orphans_is_dropped_too() -> None:
    deeper = package("deeper 1", upgrades=["ssl-fix"])
    change = remove(PackageList((deeper, FIX, SSL, BASE)), "ssl")
    assert names(change) == "base"
    assert steps(change) == ["removed ssl 3.0.1", "dropped ssl-fix 1", "dropped deeper 1"]
    assert change.steps[1].because == (SSL,) and change.steps[2].because == (FIX,)


def test_an_upgrade_that_was_orphaned_elsewhere_is_left_to_the_user() -> None:
    assert names(activate(PackageList((FIX, SSL_2)), TOOLS)) == "tools ssl-fix ssl"


def test_a_package_that_upgrades_its_own_name_takes_the_older_ones_place() -> None:
    newer = package("tools 2", upgrades=["tools < 2"])
    assert names(change_version(PackageList((WEB, TOOLS, BASE)), newer)) == "web tools base"
    assert names(activate(PackageList((WEB,)), newer)) == "tools web"


def test_a_changed_version_goes_where_its_new_dependencies_let_it() -> None:
    b2 = package("b 2", local=["a"])
    change = change_version(PackageList((package("a 1"), package("c 1"), package("b 1"))), b2)
    assert names(change) == "b a c" and steps(change) == ["changed b 2", "moved b 2"]


def test_dependencies_that_run_in_a_circle_are_refused_with_the_circle() -> None:
    a, b = package("a 1", local=["b"]), package("b 1", local=["c"])
    c = package("c 1", upgrades=["a"])
    with pytest.raises(UsageError) as refused:
        activate(PackageList((a, b)), c)
    error = refused.value
    assert "circle" in error.what and error.hint
    assert error.found == "a 1 depends on b 1, b 1 depends on c 1, c 1 upgrades a 1"
    with pytest.raises(UsageError, match="circle"):
        activate(PackageList(), a, b, c)
    # A list that has one all the same can be taken apart.
    assert names(remove(PackageList((a, b, c)), "b")) == "a c"


def test_dependencies_of_other_boards_do_not_order_a_cards_list() -> None:
    app, lib = package("app 1", local=["lib @ pi"]), package("lib 1")
    assert names(activate(PackageList((lib,), "pi"), app)) == "app lib"
    assert names(settle(PackageList((lib, app), "virt"))) == "lib app"
    # A class's list is for cards of all boards.
    assert names(settle(PackageList((lib, app)))) == "app lib"


def test_only_an_earlier_version_is_regressed_to() -> None:
    there = PackageList((SSL, BASE))
    for later in (SSL_2, SSL):
        with pytest.raises(UsageError) as refused:
            regress(there, later)
        assert refused.value.expected == "a version before 3.0.1" and refused.value.found == later.version
    with pytest.raises(UsageError, match="not in the list"):
        regress(there, WEB)


@pytest.mark.parametrize("order", [["ssl"], ["ssl", "base", "web"], ["ssl", "ssl"], []])
def test_an_order_that_is_not_of_these_packages_is_refused(order: list[str]) -> None:
    with pytest.raises(UsageError):
        reorder(PackageList((SSL, BASE)), order)


def test_what_is_not_there_is_not_removed() -> None:
    with pytest.raises(UsageError) as refused:
        remove(PackageList((SSL, BASE)), "base", "web")
    assert refused.value.expected == "one of ssl, base" and refused.value.found == "web"


@pytest.mark.parametrize(
    "act", [lambda: PackageList((SSL, SSL_2)), lambda: activate(PackageList(), SSL, SSL_2)]
)
def test_a_name_stands_once(act: object) -> None:
    with pytest.raises(UsageError, match="twice"):
        act()  # type: ignore[operator]
