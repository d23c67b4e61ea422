"""A real S3 server (SeaweedFS), a proxy in front of it that makes it a bad one, and the emulator of Azure."""

import http.client
import json
import os
import random
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.support.proxy import free_ports

KEY, SECRET = "AKIA-TEST", "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
STARTED_SECONDS = 60.0


class Weed:
    """An S3 server in a process of its own. Its buckets appear with their first object."""

    def __init__(self, folder: Path) -> None:
        self._home = home = folder / "weed"
        home.mkdir(parents=True)
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        user = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": rights}
        (home / "s3.json").write_text(json.dumps({"identities": [user]}))
        self._start()

    def _start(self) -> None:
        home = self._home
        self.port, master, volume, filer = _far_ports(4)
        options = [
            f"-dir={home}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-volume.max=50",
            "-master.volumeSizeLimitMB=64",
        ]
        options += ["-s3", f"-s3.port={self.port}", f"-s3.config={home / 's3.json'}", "-master.telemetry=false"]
        options += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        options += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
        command = Path(sys.executable).with_name("weed")
        with (home / "log").open("wb") as log:
            self.process = subprocess.Popen([command, "server", *options], stdout=log, stderr=log, cwd=home)
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def options(self, endpoint: str | None = None) -> dict[str, str]:
        """The value of EPOCHD_STORAGE_OPTIONS."""
        keys = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1", "allow_http": "true"}
        return {"endpoint": endpoint or self.endpoint, **keys}

    def settings(self, bucket: str | None = None, endpoint: str | None = None) -> dict[str, str]:
        """Settings of a server that uses a bucket, by default one of its own."""
        url = f"s3://{bucket or f'b{secrets.token_hex(6)}'}/epochd"
        return {"EPOCHD_STORAGE": url, "EPOCHD_STORAGE_OPTIONS": json.dumps(self.options(endpoint))}

    def wait(self) -> None:
        """Return when objects can be written."""
        from epochd.artifact.objects import Objects  # noqa: PLC0415
        from epochd.core.errors import EpochdError  # noqa: PLC0415

        until = time.monotonic() + STARTED_SECONDS
        while True:
            try:
                Objects.opened("s3://started/x", self.options()).probe()
                return
            except EpochdError:
                assert time.monotonic() < until, "the S3 server did not start"
                if self.process.poll() is not None:  # somebody else has taken one of its ports in the meantime
                    self._start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Azurite:
    """Microsoft's emulator of Azure Blob Storage, in a process of its own; ``make azure`` installs it."""

    COMMAND = Path(sys.prefix) / "azurite/node_modules/.bin/azurite-blob"

    def __init__(self, folder: Path) -> None:
        [port] = free_ports(1)
        options = [f"--location={folder}", f"--blobPort={port}", "--disableTelemetry", "--skipApiVersionCheck"]
        env = os.environ | {"AZURITE_ACCOUNTS": f"tests:{SECRET}"}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([self.COMMAND, *options], env=env, stdout=log, stderr=log)
        self.endpoint = f"http://127.0.0.1:{port}/tests"

    def wait(self) -> None:
        """Return when it answers."""
        until = time.monotonic() + STARTED_SECONDS
        while True:
            assert self.process.poll() is None, "Azurite has ended"
            with suppress(httpx.TransportError):
                httpx.get(self.endpoint, trust_env=False)
                return
            assert time.monotonic() < until, "Azurite did not start"
            time.sleep(0.1)

    def options(self) -> dict[str, str]:
        """The value of EPOCHD_STORAGE_OPTIONS."""
        return {"endpoint": self.endpoint, "account_name": "tests", "account_key": SECRET, "allow_http": "true"}

    def settings(self) -> dict[str, str]:
        """Settings of a server that uses a container of its own."""
        url = f"az://{self.container()}/epochd"
        return {"EPOCHD_STORAGE": url, "EPOCHD_STORAGE_OPTIONS": json.dumps(self.options())}

    def container(self) -> str:
        """The name of a new container: unlike SeaweedFS, Azure makes none with the first object."""
        from azure.storage.blob import BlobServiceClient  # noqa: PLC0415 - only `make azure` installs it

        name = f"c{secrets.token_hex(6)}"
        BlobServiceClient(self.endpoint, credential=SECRET).create_container(name)
        return name

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def _far_ports(number: int) -> list[int]:
    """Free ports; SeaweedFS adds 10,000 to each for gRPC."""
    while True:
        ports = free_ports(number)
        if max(ports) < 55_000:
            return ports


class FaultyStore:
    """A proxy in front of an S3 server. ``faults`` is how likely each kind of fault is, for each request:

    - ``error``: 500 or 503, before or after the request was carried out;
    - ``reset``: the connection breaks, before or after;
    - ``slow``: it takes a second longer;
    - ``cut``: the body of an answer ends early;
    - ``stale``: 404 for an object, and a list without it, for a second after it was written."""

    def __init__(self, port: int, seed: int = 0, **faults: float) -> None:
        self.faults, self.random, self.target = faults, random.Random(seed), port
        self.counts: dict[str, int] = {}
        self.written: dict[str, float] = {}
        self.requests: list[tuple[str, str, bytes]] = []
        """Method, path and body of all."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"store": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def happens(self, kind: str) -> bool:
        if self.random.random() >= self.faults.get(kind, 0.0):
            return False
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return True

    def is_stale(self, path: str) -> bool:
        return time.monotonic() - self.written.get(path, 0.0) < 1.0 and self.happens("stale")


class Handler(BaseHTTPRequestHandler):
    """Passes requests on, with the faults of ``store``."""

    protocol_version = "HTTP/1.1"
    store: "FaultyStore"

    def log_message(self, *_: Any) -> None: ...

    def handle_any(self) -> None:
        with suppress(ConnectionError, BrokenPipeError):
            self._handle()

    def _handle(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        self.store.requests.append((self.command, path, body if len(body) < 100_000 else b""))
        if self.store.happens("slow"):
            time.sleep(1.0)
        fault = next((kind for kind in ("reset", "error") if self.store.happens(kind)), None)
        if fault is not None and self.store.random.random() < 0.5:
            return self._fail(fault)
        if self.command in ("GET", "HEAD") and self.store.is_stale(path):
            return self._answer(404, [], b"<Error><Code>NoSuchKey</Code></Error>")
        status, headers, content = self._forwarded(body)
        if self.command == "PUT" and status == 200:
            self.store.written[path] = time.monotonic()
        if fault is not None:
            return self._fail(fault)
        self._answer(status, headers, content)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _fail(self, fault: str) -> None:
        if fault == "reset":
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(self.store.random.choice([500, 503]), [], b"<Error><Code>SlowDown</Code></Error>")

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.store.target, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        kept = [(n, v) for n, v in headers if n.lower() not in ("content-length", "transfer-encoding", "connection")]
        for name, value in kept:
            self.send_header(name, value)
        length = dict((n.lower(), v) for n, v in headers).get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(content) > 1 and self.store.happens("cut"):
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any
