"""How the tests start several processes: each group has a port of its own to meet at."""

import socket
import sys


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def torchrun(count: int) -> list[str]:
    """The command that starts a program so many times, as torchrun does."""
    run = "torch.distributed.run"
    return [sys.executable, "-m", run, "--standalone", "--nproc-per-node", str(count)]


def accelerate(count: int) -> list[str]:
    """As accelerate does it on so many GPUs; a machine without one takes gloo."""
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
        "--num_processes", str(count), "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--main_process_port", str(free_port()),
    ]  # fmt: skip
