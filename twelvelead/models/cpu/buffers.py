"""Memory that each thread keeps from one call to the next.

    sums = buffer("transformed inputs", 14, 1000, 30)                   # a tensor of this shape with arbitrary content
    workspace = workspace_of(Workspace, shapes, batch, time)            # built once, then found again by its arguments

A buffer that was used a moment ago still lies in the core's cache, and new memory would first have to be zeroed by the
system. Each thread has its own buffers, so several members can be scored at the same time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import torch

LARGEST_KEPT = 2**22  # numbers; a larger buffer is allocated for the call and freed after it
# Numbers in the workspaces that a thread keeps. 16 recordings of 10 s take 2²³ in the published network.
WORKSPACES_KEPT = 2**24


class Buffers(threading.local):
    """Named buffers of the calling thread. Buffers of the same name share memory, whatever their shapes."""

    def __init__(self) -> None:
        self.memory: dict[str, torch.Tensor] = {}
        self.views: dict[tuple, torch.Tensor] = {}

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        """A float32 tensor of this shape with arbitrary content, valid until the thread asks for this name again."""
        view = self.views.get((name, shape))
        return self._new(name, shape) if view is None else view

    def _new(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        count = math.prod(shape)
        if count > LARGEST_KEPT:
            return torch.empty(shape)
        # Tensors that are made in inference mode could not be written to in training later.
        with torch.inference_mode(False):
            if name not in self.memory or len(self.memory[name]) < count or len(self.views) > 1000:
                self.views.clear()
                self.memory[name] = torch.empty(count)
            view = self.views[name, shape] = self.memory[name][:count].view(shape)
        return view


buffer = Buffers()


class HasNumbers(Protocol):
    """A workspace tells how many numbers its buffers hold."""

    numbers: int


W = TypeVar("W", bound=HasNumbers)


class Workspaces(threading.local):
    """Workspaces of the calling thread, the one that was asked for last at the end."""

    def __init__(self) -> None:
        self.kept: dict[tuple, HasNumbers] = {}


_workspaces = Workspaces()


def workspace_of(build: Callable[..., W], *arguments) -> W:
    """The result of `build(*arguments)`, which is built at the first call and kept for later calls of this thread.

    Parameters
    ----------
    build : callable
        Returns an object with the attribute `numbers`, the size of its buffers. When the kept ones together exceed
        WORKSPACES_KEPT, those that were not asked for longest are dropped.
    arguments
        Must be hashable, since the workspace is found again by them.
    """
    key = (build, *arguments)
    kept = _workspaces.kept
    workspace = cast("W | None", kept.pop(key, None))  # what lies under this key was made by this `build`
    if workspace is None:
        workspace = build(*arguments)
        while kept and workspace.numbers + sum(other.numbers for other in kept.values()) > WORKSPACES_KEPT:
            del kept[next(iter(kept))]
    kept[key] = workspace
    return workspace
