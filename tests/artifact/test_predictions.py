"""The file of a batch prediction."""

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from epochd.artifact.predictions import Part, Parts


@pytest.mark.parametrize("bom", [False, True])
def test_a_missing_prediction_that_is_alone_in_its_line_keeps_its_row_in_csv(tmp_path: Path, bom: bool) -> None:
    parts = Parts.open(tmp_path / "parts", {"fingerprint": "f", "model": "m"})
    for values in ([None, 1.0], [2.0, None]):
        parts.add(Part(pl.DataFrame({"prediction": values}, {"prediction": pl.Float64}), 2))
    file = parts.assemble(tmp_path, "csv", bom=bom)
    assert file.read_text(encoding="utf-8-sig") == 'prediction\n""\n1.0\n2.0\n""\n'
    assert file.read_bytes().startswith(b"\xef\xbb\xbf") is bom
    assert pd.read_csv(file)["prediction"].fillna(-1).tolist() == [-1, 1, 2, -1]
