"""Work on a GPU whose launches are recorded once and replayed from then on."""

import functools
import gc
from collections.abc import Callable

import torch


class Replayed:
    """work(), which reads and writes memory that stays where it is, and never waits for the GPU.

    The first call does it, so that what it needs is compiled; the second records it as a CUDA graph, which later calls
    launch as one. On a CPU every call does it.
    """

    def __init__(self, work: Callable[[], None], device: torch.device):
        self.work, self.device = work, device
        self.replay: Callable[[], None] | None = None
        self.called = False

    def __call__(self) -> None:
        if self.device.type != "cuda" or not self.called:
            self.called = True
            return self.work()
        if self.replay is None:
            self.replay = recorded(self.work, self.device)
        self.replay()


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What launches all at once what `work` launches, in the order of the stream that is current then.

    Other threads, such as NCCL's, may use the GPU meanwhile. Garbage is not collected in between: to free another graph
    would spoil this one.
    """
    graph, collects = torch.cuda.CUDAGraph(), gc.isenabled()
    with torch.cuda.device(device):
        now, stream = torch.cuda.current_stream(), torch.cuda.Stream()
        stream.wait_stream(now)
        gc.disable()
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    work()
                finally:
                    graph.capture_end()
        finally:
            if collects:
                gc.enable()
        now.wait_stream(stream)
    return functools.partial(_launch, graph, device)


def _launch(graph: "torch.cuda.CUDAGraph", device: torch.device) -> None:
    with torch.cuda.device(device):
        graph.replay()
