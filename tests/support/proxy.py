"""A real nginx with the configuration of ``docs/scaling.md``, in front of servers on other ports."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
PAGE = Path(__file__).parents[2] / "docs/scaling.md"
DOCUMENTED_PORTS = 8001, 8002, 8003
MAIN = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{sites}
}}
"""


def documented() -> str:
    """The configuration in the documentation."""
    block = re.search(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None, f"{PAGE} has no configuration of nginx"
    return block[1]


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class Proxy:
    """A running nginx that listens on ``port``, for the servers on ``ports``."""

    def __init__(self, folder: Path, port: int, ports: Sequence[int]) -> None:
        assert NGINX is not None, "nginx is not installed"
        sites = documented().replace("listen 127.0.0.1:8000;", f"listen 127.0.0.1:{port};")
        for known, own in zip(DOCUMENTED_PORTS, ports, strict=True):
            sites = sites.replace(f"server 127.0.0.1:{known} ", f"server 127.0.0.1:{own} ")
        folder.mkdir(parents=True)
        file = folder / "nginx.conf"
        user = "user root root;" if os.getuid() == 0 else ""  # another user cannot enter the folders of pytest
        file.write_text(MAIN.format(folder=folder, sites=sites, user=user))
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([NGINX, "-c", str(file), "-p", str(folder), "-e", str(folder / "error.log")])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
