"""The ``epochd`` command: serve, train, watch, control, predict.

Commands that talk to a server use ``epochd.client`` only. The server and the prediction code are imported inside the
two commands that need them, so that ``epochd train`` and ``--help`` start fast. The commands are registered here in the
order in which ``--help`` shows them.
"""

import typer

import epochd
from epochd.cli import console, datasets, local, tasks
from epochd.cli.console import read_config
from epochd.cli.watching import watch_to_the_end
from epochd.core.errors import EpochdError

__all__ = ["app", "main", "read_config", "watch_to_the_end"]

app = typer.Typer(
    help="Train models on a server: submit a config, watch every epoch, pause, resume, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(datasets.app, name="datasets")


def main() -> None:
    """Run the command line. An error is printed as a message, without a traceback, and sets the exit code."""
    try:
        app()
    except EpochdError as error:
        console.show_error(error)
        raise SystemExit(console.exit_code(error)) from None


def version() -> None:
    """Print the version."""
    typer.echo(f"epochd {epochd.__version__}")


app.command(epilog=local.SERVE_EPILOG)(local.serve)
app.command()(tasks.train)
app.command()(tasks.watch)
app.command()(tasks.pause)
app.command()(tasks.resume)
app.command("continue")(tasks.continue_)
app.command()(tasks.retry)
app.command()(tasks.logs)
app.command()(tasks.stop)
app.command()(tasks.remove)
app.command()(tasks.tasks)
app.command()(local.predict)
app.command()(version)
