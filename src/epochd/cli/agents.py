"""``epochd agent``: run trainings of a server on this machine; list and drain its agents."""

import logging
import platform
import re
from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option, Typer

from epochd.cli.console import DEFAULT_URL, Token, Url, connected, show, show_table, size
from epochd.cli.local import setting
from epochd.core.agents import AGENT_NAME
from epochd.core.errors import SettingsError
from epochd.core.settings import load
from epochd.core.text import shown

app = Typer(help="Run trainings of a server on this machine; list and drain the agents of a server.")

Name = Annotated[str, Argument(help="An agent's name, as listed by `epochd agent list`.")]


@app.callback(invoke_without_command=True)
def agent(
    context: Context,
    server: Annotated[
        str, Option(envvar="EPOCHD_URL", help="The URL of the server, as this machine reaches it.")
    ] = DEFAULT_URL,
    token: Annotated[
        str | None, Option(envvar="EPOCHD_TOKEN", help="One of the server's EPOCHD_AGENT_TOKENS or EPOCHD_TOKENS.")
    ] = None,
    name: Annotated[str | None, Option(help="A name for this agent. Default: that of the machine.")] = None,
    address: Annotated[
        str | None,
        Option(
            envvar="EPOCHD_NODE_ADDRESS",
            help="The IP address at which other agents reach this one, for trainings on several machines. Default: the "
            "one from which this machine reaches the server.",
        ),
    ] = None,
    data_dir: Annotated[Path, Option(help="The folder for the files of running trainings, and for caches.")] = Path(
        "epochd-agent"
    ),
    slots: Annotated[
        int | None, Option(min=1, help="The number of trainings that run at the same time on this machine.")
    ] = None,
    gpus: Annotated[str | None, setting("gpus")] = None,
    memory_mb: Annotated[int | None, setting("memory_mb")] = None,
    warm_mb: Annotated[int | None, setting("warm_mb")] = None,
    resident_mb: Annotated[int | None, setting("resident_mb")] = None,
    cache_mb: Annotated[int | None, setting("cache_mb")] = None,
    jobs_per_worker: Annotated[int | None, setting("jobs_per_worker")] = None,
) -> None:
    """Run trainings of a server on this machine until ctrl-C or SIGTERM. They save a checkpoint then, and go on
    elsewhere."""
    if context.invoked_subcommand is not None:
        return
    limits = {"slots": slots, "gpus": gpus, "memory_mb": memory_mb, "warm_mb": warm_mb, "resident_mb": resident_mb}
    settings = load(data_dir=data_dir, cache_mb=cache_mb, jobs_per_worker=jobs_per_worker, host="127.0.0.1", **limits)
    chosen = name or re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node()).strip("-._")[:63] or "agent"
    if not AGENT_NAME.fullmatch(chosen):
        raise SettingsError(
            f"invalid settings: --name {shown(chosen, 80)}: use up to 63 letters, digits, '.', '_' and '-', the first "
            "one a letter or digit"
        )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=settings.log_level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from epochd.dispatch import agent  # noqa: PLC0415 - only this command needs it
    from epochd.dispatch.workers.pool import LocalExecutor  # noqa: PLC0415
    from epochd.engines import registry  # noqa: PLC0415
    from epochd.engines.speeds import Speeds  # noqa: PLC0415

    others = Speeds(settings.speeds_dir).recent_engines()
    executor = LocalExecutor(settings, registry.preferred(), others=others)
    agent.run(settings, executor, server, token or "", chosen, address)


@app.command("list")
def list_agents(url: Url = DEFAULT_URL, token: Token = None) -> None:
    """List the agents of a server."""
    with connected(url, token) as client:
        found = client.agents()["agents"]
    rows = [
        [
            one["name"],
            one["state"],
            one["hostname"],
            f"{one['free_slots']}/{one['slots']}",
            str(len(one["gpus"])),
            size(one["memory"]),
            ", ".join(one["frameworks"]),
        ]
        for one in found
    ]
    show_table(["name", "state", "machine", "free slots", "GPUs", "memory", "frameworks"], rows)


@app.command("drain")
def drain(name: Name, url: Url = DEFAULT_URL, token: Token = None) -> None:
    """Give an agent nothing more to run: its trainings save a checkpoint and go on elsewhere, then it ends."""
    with connected(url, token) as client:
        answer = client.drain_agent(name)
    show(answer["message"])
    for task_id in answer["tasks"]:
        show(task_id)
