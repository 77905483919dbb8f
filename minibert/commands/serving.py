"""The work of `minibert serve`."""

import os
import signal
import socket
import sys
from math import ceil
from types import SimpleNamespace

from minibert import load
from minibert.commands.flags import load_trained, refuse
from minibert.files import require
from minibert.limits import Limits
from minibert.serving import make_app

__all__: list[str] = []


def stop(*_: object) -> None:
    """End with 0: who stops a server means it."""
    sys.exit(0)


def open_socket(host: str, port: int) -> socket.socket:
    """Take a port, at which nobody is heard yet.

    Raises:
        OSError: it is taken, or there is no such address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        ours = socket.socket(family)
        if sys.platform != "win32":  # where it would share the port with whoever has it
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen at {host}, port {port}: {error.strerror}") from None
    return ours


def run_serve(args: SimpleNamespace) -> None:
    """Do `minibert serve`."""
    require("serve", "fastapi", "uvicorn", "prometheus_client")
    import uvicorn

    try:
        limits = Limits(
            body=args.max_body, characters=args.max_characters, texts=args.max_texts,
            queue=args.queue, timeout=args.timeout, batch=args.max_batch,
            wait=args.max_wait_ms / 1000,
        )  # fmt: skip
    except ValueError as error:
        refuse(str(error))
    for one in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises it again when it is done
        signal.signal(one, stop)
    with open_socket(args.host, args.port) as ours:
        reader = load_trained(
            "BertForQuestionAnswering", args.model,
            f"{args.model} has no question-answering head: train one with "
            f"minibert qa train FOLDER --start {args.model}",
        )  # fmt: skip
        load(args.embed_model, "BertModel")  # read now, or refused; kept for all requests
        app = make_app(reader, args.embed_model, limits)
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="on", log_level="warning", access_log=False,
            server_header=False,
            limit_concurrency=limits.queue + 1000,  # connections; more are told 503
            # The time-out answers what is late; the rest is for sending it.
            timeout_graceful_shutdown=ceil(limits.timeout) + 5,
        )  # fmt: skip
        host = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{host}:{ours.getsockname()[1]}/"

        class Server(uvicorn.Server):
            """Says when it is open."""

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                print(f"{address} is open; Ctrl-C stops it", flush=True)

        try:
            Server(config).run(sockets=[ours])
        finally:
            if not getattr(app.state, "idle", True):  # Python cannot end beside its thread
                os._exit(0)
