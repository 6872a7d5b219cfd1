"""The master's options in a file, and the command line over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.master.options import MasterOptions, load_options
from firmware_mgr.model.errors import UsageError

FILE = """
directory = "/srv/master"
address = "10.0.0.1/16"
boards = ["/etc/fwmgr/boards/mine.toml"]
subnets = ["2=10.78.0.0/24,10.78.0.254"]
trial_tries = 3
no_master_seconds = 30

[deadlines]
booting = 60
"""


def test_a_file_holds_what_the_command_line_would_say(tmp_path: Path) -> None:
    path = tmp_path / "master.toml"
    path.write_text(FILE)
    options = load_options(path)
    assert (options.address, options.trial_tries, options.deadlines) == ("10.0.0.1/16", 3, {"booting": 60.0})
    assert options.boards == (Path("/etc/fwmgr/boards/mine.toml"),)


def test_the_command_line_wins_where_it_says_something(tmp_path: Path) -> None:
    path = tmp_path / "master.toml"
    path.write_text(FILE)
    options = MasterOptions(address="10.1.0.1/24").over(load_options(path))
    assert (options.address, options.directory, options.trial_tries) == (
        "10.1.0.1/24",
        Path("/srv/master"),
        3,
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("adress = '10.0.0.1'", "adress: Extra inputs"),
        ("trial_tries = 0", "trial_tries: .*greater than or equal to 1.*found 0"),
        ("no_master_policy = 'go'", "no_master_policy: .*'wait' or 'run'"),
        ("address = ", "not a TOML file"),
    ],
)
def test_a_fault_is_told_with_file_and_key(text: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "master.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=fault) as caught:
        load_options(path)
    assert caught.value.where == str(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml"):
        load_options(tmp_path / "gone.toml")
