"""A raw export of a Chinese shop, as people have it: from the file to a model and predictions in three calls.

Headers and labels are Chinese, amounts have a currency and separators, rates a percent sign, dates are those of Excel,
customers have numbers, some values are missing. Once it is a CSV file in GBK, once a workbook with a title.
"""

import csv
import io
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import xlsxwriter

from epochd.client import Client
from tests.support.running import Running

ROWS, NEW = 5_000, 200
NAMES = ["客户编号", "注册日期", "城市", "月均消费", "折扣率", "是否会员", "投诉次数", "是否流失"]
CONFIG = {"target_column": "是否流失", "epochs": 8, "hidden_units": [16], "framework": "pytorch"}
Row = tuple[str, date, str | None, float | None, float, str, int, str]


def customers() -> list[Row]:
    """Customers who leave if they complain, pay little and have no membership; a tenth of them at random."""
    random = np.random.default_rng(7)
    rows: list[Row] = []
    for number in range(ROWS + NEW):
        spent, discount = round(float(random.gamma(2, 900)), 2), int(random.integers(0, 50)) / 100
        member, complaints = bool(random.random() < 0.5), int(random.poisson(1))
        leaves = (complaints > 1 or spent < 900) and not member
        leaves = not leaves if random.random() < 0.05 else leaves
        city = None if random.random() < 0.02 else ("上海", "北京", "广州", "成都")[int(random.integers(0, 4))]
        since = date(2015, 1, 1) + timedelta(days=int(random.integers(0, 3_500)))
        paid = None if random.random() < 0.03 else spent
        words = ("是" if member else "否", complaints, "是" if leaves else "否")
        rows.append((f"KH{number:06d}", since, city, paid, discount, *words))
    return rows


def as_csv(rows: list[Row], names: list[str]) -> bytes:
    """The rows as a CSV file in GBK, in the notations of an export."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for key, since, city, paid, discount, member, complaints, label in rows:
        amount = "" if paid is None else f"￥{paid:,.2f}"  # the only yen sign in GBK
        day = f"{since.year}/{since.month}/{since.day}"
        writer.writerow([key, day, city or "", amount, f"{discount:.0%}", member, complaints, label][: len(names)])
    return out.getvalue().encode("gbk")


def as_workbook(rows: list[Row], names: list[str]) -> bytes:
    """The same rows as a workbook, with a title above the header, and cells that are formatted."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True})
    sheet = book.add_worksheet("客户")
    formats = {1: "yyyy/m/d", 3: '"¥"#,##0.00', 4: "0%"}
    styles = {column: book.add_format({"num_format": code}) for column, code in formats.items()}
    sheet.write(0, 0, "2024年客户流失分析")
    sheet.write_row(1, 0, names)
    for number, row in enumerate(rows, 2):
        for column, value in enumerate(row[: len(names)]):
            if isinstance(value, date):
                sheet.write_datetime(number, column, value, styles[column])
            elif value is not None:
                sheet.write(number, column, value, styles.get(column))
    book.close()
    return file.getvalue()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return customers()


def check(found: pl.DataFrame, rows: list[Row], least: float = 0.85) -> None:
    """The predictions name the customers, in order, and most of those who leave."""
    new = rows[ROWS:]
    assert found["客户编号"].to_list() == [row[0] for row in new]
    assert set(found["prediction"]) <= {"是", "否"}
    right = [prediction == row[-1] for prediction, row in zip(found["prediction"], new, strict=True)]
    assert sum(right) / len(right) > least


def command(server: Running, *arguments: str) -> str:
    """The output of ``epochd`` for a server."""
    environment = os.environ | {"EPOCHD_URL": server.url, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "epochd.cli", *arguments], env=environment, capture_output=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_an_export_becomes_a_model_and_predictions_over_http(open_server: Any, rows: list[Row]) -> None:
    server = open_server()
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=60, trust_env=False) as api:
        upload = api.post("/datasets", files={"file": ("客户流失.csv", as_csv(rows[:ROWS], NAMES))})
        assert upload.status_code == 201, upload.text
        started = api.post("/epoch-training/start", json=CONFIG | {"dataset": "客户流失"})
        assert started.status_code == 200, started.text
        answer = started.json()
        assert [column["name"] for column in answer["dataset"]["left_out"]] == ["客户编号"]
        assert any("GB" in warning.upper() for warning in answer["warnings"])
        assert server.follow(answer["task_id"])["type"] == "complete"
        predicted = {}
        for suffix, written in ((".csv", as_csv), (".xlsx", as_workbook)):
            media = {".csv": "text/csv", ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
            headers = {"Content-Type": media[suffix], "Accept": "text/csv"}
            query = {"id_columns": "客户编号"}
            body = written(rows[ROWS:], NAMES[:-1])
            found = api.post(f"/models/{answer['task_id']}/predict", content=body, headers=headers, params=query)
            assert found.status_code == 200, found.text
            predicted[suffix] = pl.read_csv(found.content)
        check(predicted[".csv"], rows)
        assert predicted[".xlsx"].equals(predicted[".csv"])
        profile = {column["name"]: column for column in api.get("/datasets/客户流失").json()["profile"]}
    assert profile["月均消费"]["notation"] == "numbers such as ¥1,234.5"
    assert profile["折扣率"]["max"] < 0.5
    assert profile["注册日期"]["kind"] == "date"


def test_a_workbook_with_a_title_becomes_a_model_and_predictions_by_the_client(
    open_server: Any, rows: list[Row], tmp_path: Path
) -> None:
    server = open_server()
    (tmp_path / "客户流失.xlsx").write_bytes(as_workbook(rows[:ROWS], NAMES))
    (tmp_path / "新客户.xlsx").write_bytes(as_workbook(rows[ROWS:], NAMES[:-1]))
    with Client(server.url) as api:
        assert api.upload_dataset(tmp_path / "客户流失.xlsx")["rows"] == ROWS
        task_id = api.start(CONFIG | {"dataset": "客户流失"})["task_id"]
        assert [event["type"] for event in api.stream(task_id)][-1] == "complete"
        content = api.predict_file(task_id, tmp_path / "新客户.xlsx", id_columns=["客户编号"], accept="text/csv")
    check(pl.read_csv(content), rows)


def test_an_export_becomes_a_model_and_predictions_in_a_shell(
    open_server: Any, rows: list[Row], tmp_path: Path
) -> None:
    server = open_server()
    (tmp_path / "客户流失.csv").write_bytes(as_csv(rows[:ROWS], NAMES))
    (tmp_path / "新客户.csv").write_bytes(as_csv(rows[ROWS:], NAMES[:-1]))
    command(server, "datasets", "add", str(tmp_path / "客户流失.csv"))
    (tmp_path / "config.json").write_text(str(CONFIG | {"dataset": "客户流失"}).replace("'", '"'), encoding="utf-8-sig")
    trained = command(server, "train", str(tmp_path / "config.json"))
    found = re.search(r"epoch_training_\w+", trained)
    assert found is not None, trained
    task_id = found[0]
    output = tmp_path / "预测.csv"
    command(
        server,
        "predict",
        task_id,
        str(tmp_path / "新客户.csv"),
        "--id-columns",
        "客户编号",
        "--output",
        str(output),
        "--bom",
    )
    assert output.read_bytes().startswith(b"\xef\xbb\xbf")
    check(pl.read_csv(output), rows)
