"""Broken files are reported with their defect: one problem, no stack trace, no hang."""

import pytest
from tests.support.broken_files import BROKEN

from epochd.core.errors import DataError
from epochd.data.tables.catalog import Catalog


@pytest.mark.timeout(10)
@pytest.mark.parametrize("build", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_reported_with_its_defect(build, tmp_path):
    name, message = build(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        Catalog([tmp_path]).open(name).read()
    [problem] = caught.value.problems
    assert problem.field == "dataset"
    assert name in problem.message
    assert problem.hint
    assert str(tmp_path) not in problem.message + problem.hint
