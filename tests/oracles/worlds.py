"""Several processes for tests: forked and connected by gloo, or threads that stand for them.

Run as a program, with a folder and sizes of worlds, this module forks so many processes from one that has imported
everything, runs every scenario of :mod:`tests.oracles.processes` in them, and writes their answers into files.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

PATIENCE = 20  # seconds that a process waits for another one: a hang is an error


@dataclass(frozen=True)
class World:
    """This process among those that train together; alone, it has no group."""

    rank: int
    size: int
    group: Any
    folder: Path
    wait: Callable[[], None] = lambda: None

    def mine(self, rows):
        return rows[self.rank :: self.size]

    @property
    def last(self):
        return self.rank == self.size - 1


class Threads:
    """Stands for ``torch.distributed`` among threads, of which one runs while the others wait."""

    class ProcessGroup:
        """The one group there is."""

    def __init__(self, size):
        self.size, self.slots = size, [None] * size
        self.barrier, self.turn, self.local = threading.Barrier(size), threading.Lock(), threading.local()
        self.calls = []

    def run(self, rank, act):
        """Act as the process of a rank; its errors are everyone's."""
        self.local.rank = rank
        with self.turn:
            try:
                return act()
            except BaseException:
                self.barrier.abort()
                raise

    def exchanged(self, kind, value):
        """What all threads say; they must be in the same call."""
        if self.local.rank == 0:
            self.calls.append(kind)
        self.slots[self.local.rank] = kind, value
        self._meet()
        said = list(self.slots)
        self._meet()
        if len({name for name, _ in said}) > 1:
            raise ConnectionError(f"gloo would mix up {said}")
        return [item for _, item in said]

    def _meet(self):
        self.turn.release()
        try:
            self.barrier.wait(PATIENCE)
        finally:
            self.turn.acquire()

    def is_available(self):
        return True

    def is_initialized(self):
        return True

    def get_world_size(self, group=None):
        return self.size

    def get_rank(self, group=None):
        return self.local.rank

    def get_global_rank(self, group, rank):
        return rank

    def all_gather_object(self, found, value, group):
        found[:] = map(pickle.loads, self.exchanged("all_gather_object", pickle.dumps(value)))

    def all_reduce(self, tensor, group):
        tensor.copy_(sum(self.exchanged(f"all_reduce {tensor.shape}", tensor.clone())))

    def broadcast(self, tensor, src, group):
        tensor.copy_(self.exchanged(f"broadcast {tensor.shape}", tensor.clone())[src])


def _child(rank, size, folder, scenarios):
    """One process of gloo: all scenarios, one after the other."""
    file = f"file://{folder}/meet-{size}"
    patience = timedelta(seconds=PATIENCE)
    distributed.init_process_group("gloo", init_method=file, rank=rank, world_size=size, timeout=patience)
    world = World(rank, size, distributed.group.WORLD, folder, distributed.barrier)
    answers = {}
    for name, act in scenarios.items():
        try:
            answers[name] = act(world)
        except Exception:  # noqa: BLE001 - it is an answer, and the next scenario is another test
            answers[name] = {"failed": traceback.format_exc()}
    (folder / f"{size}-{rank}.json").write_text(json.dumps(answers))
    distributed.destroy_process_group()


def _script(rank, size, folder, port):
    """One process that torchrun would start."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.chdir(folder)
    with (folder / f"script-{rank}.txt").open("w") as output, contextlib.redirect_stdout(output):
        exec(compile((folder / "script.py").read_text(), "script.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - ours


def _forked(target, size, *arguments):
    """Run a function in processes that are forked from this one, which has imported everything."""
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=target, args=(rank, size, *arguments)) for rank in range(size)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise ChildProcessError(f"processes ended with {[child.exitcode for child in children]}")


def main(folder, sizes, scenarios):
    """Worlds of several sizes, and the script in the folder if there is one."""
    torch.set_num_threads(1)
    for size in sizes:
        _forked(_child, size, folder, scenarios)
    if (folder / "script.py").exists():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        _forked(_script, 2, folder, port)


if __name__ == "__main__":
    from tests.oracles.processes import SCENARIOS

    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]], SCENARIOS)
