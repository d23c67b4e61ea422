"""What ``behaviour.py`` trains: deterministic tables and the configs of small trainings on every engine."""

import json
import random
import sqlite3
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

Config = dict[str, Any]

BUILTIN = ("breast_cancer", "diabetes", "digits", "iris", "sample", "wine")

COMMON: Config = {"seed": 11, "epochs": 3, "hidden_units": [12, 6], "batch_size": 32, "learning_rate": 0.01}


def weather(rows: int = 160) -> pl.DataFrame:
    """One row an hour of two stations; for windows over time and for splits by group."""
    draw = random.Random(1)
    heat = [round(10 + 8 * draw.random() + i % 24 / 4, 2) for i in range(rows)]
    return pl.DataFrame(
        {
            "hour": [datetime(2024, 3, 1) + timedelta(hours=i // 2) for i in range(rows)],
            "station": [("north", "south")[i % 2] for i in range(rows)],
            "heat": heat,
            "wind": [round(draw.gauss(4, 2), 2) if i % 11 else None for i in range(rows)],
            "rain": [draw.random() < 0.3 for _ in range(rows)],
            "target": [round(value * 0.8 + draw.random(), 2) for value in heat],
        }
    )


def people(rows: int = 200) -> pl.DataFrame:
    """Text of few and of many values, gaps, dates, times, booleans, integers; a target of words."""
    draw = random.Random(2)
    return pl.DataFrame(
        {
            "city": [f"city {draw.randrange(30)}" for _ in range(rows)],
            "plan": [draw.choice(["basic", "plus", None]) for _ in range(rows)],
            "born": [date(1950, 1, 1) + timedelta(draw.randrange(20_000)) for _ in range(rows)],
            "seen": [
                datetime(2024, 1, 1) + timedelta(minutes=draw.randrange(500_000)) if i % 9 else None
                for i in range(rows)
            ],
            "member": [draw.choice([True, False, None]) for _ in range(rows)],
            "visits": [draw.randrange(40) for _ in range(rows)],
            "income": [round(draw.lognormvariate(8, 1), 2) if i % 7 else None for i in range(rows)],
            "team": [f"team {i % 13}" for i in range(rows)],
            "answer": [draw.choice(["yes", "no", "perhaps"]) for _ in range(rows)],
        }
    )


def signals(rows: int = 120) -> pl.DataFrame:
    """Two columns of lists of 3 to 8 numbers, and one number that is repeated on each step."""
    draw = random.Random(3)
    lengths = [draw.randrange(3, 9) for _ in range(rows)]
    return pl.DataFrame(
        {
            "left": [[round(draw.gauss(i % 2, 1), 3) for _ in range(length)] for i, length in enumerate(lengths)],
            "right": [[round(draw.random(), 3) for _ in range(length)] for length in lengths],
            "age": [draw.randrange(20, 80) for _ in range(rows)],
            "target": [i % 2 for i in range(rows)],
        }
    )


def houses(rows: int, seed: int) -> pl.DataFrame:
    """A regression with a few columns."""
    draw = random.Random(seed)
    area = [round(draw.uniform(30, 200), 1) for _ in range(rows)]
    rooms = [draw.randrange(1, 8) for _ in range(rows)]
    prices = [round(a * 1.7 + r * 9 + draw.gauss(0, 10), 2) for a, r in zip(area, rooms, strict=True)]
    kinds = [draw.choice(["flat", "house"]) for _ in range(rows)]
    return pl.DataFrame({"area": area, "rooms": rooms, "kind": kinds, "price": prices})


def wide(rows: int = 20_000, columns: int = 20) -> pl.DataFrame:
    """Encoded, more than 1 MiB: a server that may hold no more has to stream it."""
    draw = random.Random(5)
    table = {f"x{column}": [round(draw.random(), 4) for _ in range(rows)] for column in range(columns)}
    hours = {"hour": [datetime(2020, 1, 1) + timedelta(hours=i) for i in range(rows)]}
    return pl.DataFrame(
        hours | table | {"target": [int(a + b > 1) for a, b in zip(table["x0"], table["x1"], strict=True)]}
    )


def leak(rows: int = 60) -> pl.DataFrame:
    """A feature that gives the target away."""
    draw = random.Random(6)
    answers = [draw.choice(["ham", "spam"]) for _ in range(rows)]
    codes = [int(answer == "spam") for answer in answers]
    return pl.DataFrame({"a": [draw.random() for _ in range(rows)], "code": codes, "answer": answers})


def tables() -> dict[str, pl.DataFrame]:
    """All tables, by the names of their files."""
    return {
        "weather.csv": weather(),
        "people.parquet": people(),
        "people.csv": people(150),
        "signals.parquet": signals(),
        "houses.csv": houses(150, 4),
        "houses-check.csv": houses(40, 44),
        "wide.parquet": wide(),
        "leak.csv": leak(),
    }


def write_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """Write each table in the format that its name says; the tables."""
    made = tables()
    for name, table in made.items():
        table.write_csv(folder / name) if name.endswith(".csv") else table.write_parquet(folder / name)
    return made


def write_shop(path: Path) -> str:
    """A database to query; the setting that names it."""
    with sqlite3.connect(path) as shop:
        shop.execute("CREATE TABLE sales (day TEXT, amount REAL, shop TEXT)")
        days = [date(2024, 1, 1) + timedelta(i) for i in range(30)]
        shop.executemany(
            "INSERT INTO sales VALUES (?, ?, ?)", [(str(day), day.day * 1.5, "ab"[day.day % 2]) for day in days]
        )
    shop.close()
    return json.dumps({"shop": f"sqlite:///{path}"})


def config(framework: str, model_type: str, dataset: str, target: str = "target", **options: Any) -> Config:
    chosen = {"framework": framework, "model_type": model_type, "dataset": dataset, "target_column": target}
    return COMMON | chosen | options


WINDOWS: Config = {"time_column": "hour", "sequence_length": 5, "group_column": "station"}
IMAGE: Config = {"input_shape": [8, 8], "epochs": 2, "batch_size": 128}
STEEP: Config = {
    "optimizer": "sgd", "learning_rate": 10, "dropout_rate": 0, "activation": "silu", "hidden_units": [64, 64, 64]
}  # fmt: skip
PEOPLE: Config = {"embedding_threshold": 10}

TRAININGS: dict[str, Config] = {
    "torch mlp, classes": config(
        "pytorch", "mlp", "iris", test_split=0.2, class_weight="balanced", label_smoothing=0.1, activation="silu"
    ),
    "torch mlp, mixed columns": config(
        "pytorch", "mlp", "people.csv", "answer", **PEOPLE, split="group", group_column="team", scaling="quantile"
    ),
    "torch mlp, validation dataset": config(
        "pytorch", "mlp", "houses.csv", "price", validation_dataset="houses-check.csv", scaling="robust"
    ),
    "torch mlp, plateau and early stop": config(
        "pytorch", "mlp", "diabetes", epochs=30, learning_rate_scheduler="plateau", patience=1, factor=0.3,
        early_stopping_patience=4, min_delta=0.02, optimizer="rmsprop",
    ),
    "torch mlp, two devices": config("pytorch", "mlp", "wine", num_devices=2, optimizer="adamw"),
    "torch mlp, no validation": config("pytorch", "mlp", "wine", validation_split=0, gradient_clip=0.5),
    "torch mlp, diverges": config("pytorch", "mlp", "diabetes", **STEEP, max_rollbacks=1),
    "torch mlp, rolls back": config("pytorch", "mlp", "diabetes", **STEEP, max_rollbacks=3),
    "torch cnn, image": config("pytorch", "cnn", "digits", **IMAGE, learning_rate_scheduler="cosine", T_max=4),
    "torch lstm, windows": config("pytorch", "lstm", "weather.csv", **WINDOWS),
    "torch gru, lists": config("pytorch", "gru", "signals.parquet", bidirectional=True),
    "keras mlp, mixed columns": config("tensorflow", "mlp", "people.parquet", "answer", **PEOPLE),
    "keras cnn, image": config("tensorflow", "cnn", "digits", **IMAGE, activation="gelu"),
    "keras lstm, lists": config("tensorflow", "lstm", "signals.parquet"),
    "keras gru, windows": config("tensorflow", "gru", "weather.csv", **WINDOWS, horizon=2, epochs=2),
    "jax mlp, mixed columns": config(
        "jax", "mlp", "people.parquet", "answer", **PEOPLE, split="time", time_column="born"
    ),
    "jax mlp, regression": config(
        "jax", "mlp", "diabetes", epochs=12, learning_rate_scheduler="plateau", patience=1, optimizer="sgd"
    ),
    "jax cnn, columns": config("jax", "cnn", "wine", kernel_size=5, activation="tanh"),
    "jax lstm, windows": config("jax", "lstm", "weather.csv", **WINDOWS, split="group"),
    "jax gru, lists": config("jax", "gru", "signals.parquet", bidirectional=True, num_devices=2),
}  # fmt: skip

STREAMED: dict[str, Config] = {
    "torch mlp, streamed": config("pytorch", "mlp", "wide.parquet", batch_size=512, epochs=2, feature_columns=["x*"]),
    "torch gru, streamed windows": config(
        "pytorch",
        "gru",
        "wide.parquet",
        batch_size=512,
        epochs=1,
        time_column="hour",
        sequence_length=4,
        hidden_units=[4],
    ),
    "jax mlp, streamed": config("jax", "mlp", "wide.parquet", batch_size=512, epochs=2, feature_columns=["x*"]),
}

PAUSED = config(
    "pytorch", "mlp", "digits", epochs=40, hidden_units=[128, 64], batch_size=8, optimizer="adamw",
    learning_rate_scheduler="cosine", early_stopping_patience=None,
)  # fmt: skip
LONG = config("pytorch", "mlp", "digits", epochs=50_000, early_stopping_patience=None, name="long")
SHORT = config("pytorch", "mlp", "iris", epochs=4, name="short")

GOOD: dict[str, Config] = {
    "digits": config("pytorch", "cnn", "digits", input_shape=[8, 8]),
    "iris": {"dataset": "iris", "target_column": "target", "framework": "jax"},
    "sample": {"target_column": "target", "framework": "tensorflow", "learning_rate_scheduler": "cosine"},
    "windows": config("pytorch", "lstm", "weather.csv", **WINDOWS),
    "group split": config("pytorch", "mlp", "people.csv", "answer", split="group", group_column="team"),
    "lists": config("tensorflow", "gru", "signals.parquet"),
    "leak": config("pytorch", "mlp", "leak.csv", "answer"),
    "validation dataset": config("jax", "mlp", "houses.csv", "price", validation_dataset="houses-check.csv"),
}

BAD: dict[str, Any] = {
    "empty": {},
    "no object": [1, 2],
    "misspelt": {"target_colum": "y", "epochss": 3, "model_type": "mpl"},
    "out of bounds": {"target_column": "target", "dataset": "iris", "epochs": 0, "dropout_rate": 1, "hidden_units": []},
    "wrong types": {"target_column": 1, "epochs": "3", "learning_rate": None, "seed": 1.5},
    "out of place": {"dataset": "iris", "target_column": "target", "gamma": 0.5, "learning_rate_scheduler": "cosine"},
    "unknown dataset": {"dataset": "irs", "target_column": "target"},
    "outside path": {"dataset": "../secret.csv", "target_column": "target"},
    "no such gpu": {"dataset": "iris", "target_column": "target", "device": "gpu"},
    "mixed precision": {"dataset": "iris", "target_column": "target", "framework": "jax", "mixed_precision": True},
    "windows without time": {"dataset": "iris", "target_column": "target", "sequence_length": 3, "model_type": "gru"},
    "unknown class": {"dataset": "iris", "target_column": "target", "class_weight": {"rose": 2}},
}
