"""A Ray cluster of two nodes on this machine, each with a process group of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
WITHOUT_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Cluster:
    """A head with a GPU that is only counted, and a second node; one CPU each."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray"))  # sockets in it may have short paths only
        place = ["--temp-dir", self.folder, "--include-dashboard", "false"]
        ports = ["--port", 0, "--ray-client-server-port", free_port()]
        self.nodes = [self._started("--head", *ports, *place, "--num-gpus", 1)]
        self.address = self._within(120, lambda: (self.folder / "ray_current_cluster").read_text())
        self.nodes.append(self._started("--address", self.address))
        self._within(
            30, lambda: self._printed().index("Ray runtime started", self._printed().index("started") + 7)
        )

    def _started(self, *words: object) -> subprocess.Popen[bytes]:
        common = ["--num-cpus", 1, "--object-store-memory", 80_000_000, "--block"]
        with (self.folder / "printed").open("ab") as printed:
            return subprocess.Popen(
                [RAY, "start", *map(str, [*words, *common])],
                env={**os.environ, **WITHOUT_REPORTS},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
            )

    def _printed(self) -> str:
        return (self.folder / "printed").read_text()

    def _within(self, seconds: float, look):
        until = time.monotonic() + seconds
        while True:
            try:
                return look()
            except (OSError, ValueError):
                if time.monotonic() > until or any(node.poll() is not None for node in self.nodes):
                    raise AssertionError(self._printed()) from None
                time.sleep(0.1)

    def status(self) -> str:
        """What ``ray status`` prints."""
        return subprocess.run(
            [RAY, "status", "--address", self.address], capture_output=True, text=True, check=False
        ).stdout

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """End a node at once, as a loss of power does; its workers notice."""
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def close(self) -> None:
        for node in self.nodes:
            if node.poll() is None:
                self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)
