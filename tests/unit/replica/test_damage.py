"""Every kind of row of every table, damaged in every way: a check tells of it, or nobody can see a difference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.replica.damaging import TABLES, damages, make_rich, rows_of
from tests.unit.replica.test_check import checked


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    make_rich(folder)
    return folder


def test_every_table_has_rows_and_the_store_is_sound(rich: Path) -> None:
    assert [table for table in TABLES if not rows_of(rich / "a.db", table)] == []
    assert checked(rich / "a.db").listed == []


@pytest.mark.parametrize("table", TABLES)
def test_damage_to_any_kind_of_row_is_told(rich: Path, tmp_path: Path, table: str) -> None:
    unseen = []
    for damage in damages(rich, table):
        path = Path(shutil.copy(rich / "a.db", tmp_path / "a.db"))
        damage.do(path)
        if checked(path).ok:
            unseen.append(damage.name)
    assert unseen == []
