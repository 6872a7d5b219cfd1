"""Pages that are printed from the code are as the code has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def test_the_page_of_a_cards_life_is_what_the_tables_say() -> None:
    printed = subprocess.run(
        [sys.executable, HERE / "tools" / "state-pages"], check=True, capture_output=True, text=True
    )
    assert (HERE / "docs" / "CARD-LIFE.md").read_text() == printed.stdout, (
        "run: tools/state-pages > docs/CARD-LIFE.md"
    )


def test_every_link_between_pages_leads_somewhere() -> None:
    missing = []
    for page in [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]:
        for part in page.read_text().split("](")[1:]:
            target = part.split(")")[0].split("#")[0]
            if target and "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.relative_to(HERE)}: {target}")
    assert missing == []


def test_every_request_of_the_masters_api_is_on_its_page() -> None:
    page = (HERE / "docs" / "API.md").read_text()
    routes = [
        f"{method.upper()} {path}"
        for source in sorted((HERE / "firmware_mgr" / "master").rglob("*.py"))
        for method, path in re.findall(r'web\.(get|post|put|delete)\("(/v1/[^"]*)"', source.read_text())
    ]
    assert len(routes) > 20
    assert [route for route in routes if f"`{route}" not in page] == []
