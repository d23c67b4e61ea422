"""The ``epochd`` command. The server and the prediction code are imported inside the two commands that need them, so
that ``epochd train`` and ``--help`` start fast."""

import sys
from io import TextIOWrapper

import typer
from typer.main import get_command

import epochd
from epochd.cli import (
    agents,
    bench,
    console,
    datasets,
    exports,
    language,
    local,
    models,
    prediction,
    predictions,
    tasks,
)
from epochd.core.errors import EpochdError

app = typer.Typer(
    help="Train models on a server: submit a config, watch every epoch, pause, resume, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(agents.app, name="agent")


def main() -> None:
    """Run the command line. An error is printed as a message, without a traceback, and sets the exit code."""
    language.choose(sys.argv[1:])
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without Unicode shows ``\\u540d`` instead of an error
        sys.stdout.reconfigure(errors="backslashreplace")
    command = get_command(app)
    language.accept_everywhere(command)
    try:
        with language.spoken(command):
            command()
    except EpochdError as error:
        console.show_error(error)
        raise SystemExit(console.exit_code(error)) from None


@app.callback()
def options(language: language.LanguageOption = None) -> None:
    """The options of the program itself. ``main`` has read them before."""


def version() -> None:
    """Print the version."""
    typer.echo(f"epochd {epochd.__version__}")


app.command(epilog=local.SERVE_EPILOG)(local.serve)
for command in tasks.COMMANDS:
    app.command(command.__name__.rstrip("_"))(command)
app.command()(prediction.predict)
app.command("predict-dataset")(predictions.predict_dataset)
app.command("predictions")(predictions.list_predictions)
app.command()(exports.export)
app.command()(bench.bench)
app.command()(version)
