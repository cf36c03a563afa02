"""A webhook receiver: four worker processes on one port, and each delivery is handled once, however often it comes.

Run it as `python webhook_receiver.py FOLDER PORT COMMAND [ARGUMENT...]`. Senders POST with a header `X-Delivery-Id`.
The command gets the body on its standard input and the id in DELIVERY_ID, and ends with 0 when it has handled it.
Until then the delivery is claimed, by a record that every worker sees; if the command fails or its worker dies, the
claim is over, and the next delivery of the same event is handled.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from persistent_dedupe import AsyncPersistentDedupe, ClaimReleased, ClaimStatus, DedupeOptions

WORKERS = 4
LARGEST_BODY = 1_000_000


class HandlerFailed(Exception):
    """The command did not end with 0: the sender should deliver again."""


class Receiver:
    def __init__(self, folder: str, command: list[str]) -> None:
        self._dedupe = AsyncPersistentDedupe(folder, DedupeOptions(ttl=7 * 86_400))
        self._command = command

    async def receive(self, delivery: str, body: bytes) -> str:
        while True:
            async with self._dedupe.handling(delivery) as claim:
                if claim:
                    await self._handle(delivery, body)
            if claim:
                return "handled"
            if claim.status is ClaimStatus.DUPLICATE:
                return "duplicate"
            try:
                await self._dedupe.wait(claim)
            except (ClaimReleased, HandlerFailed):
                continue  # the handler failed, or its process was killed: try to claim the event
            return "duplicate"

    async def _handle(self, delivery: str, body: bytes) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, env={**os.environ, "DELIVERY_ID": delivery}
        )
        await process.communicate(body)
        if process.returncode != 0:
            raise HandlerFailed(f"the command ended with {process.returncode}")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request: as much of HTTP as a webhook needs."""
        try:
            status, answer = await self._respond(reader)
            body = json.dumps({"answer": answer, "worker": os.getpid()}).encode()
            writer.write(b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
            await writer.drain()
        except ConnectionError:
            pass  # the sender has gone; it will deliver again, and be told that it is a duplicate
        finally:
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> tuple[bytes, str]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            named = (line.partition(":") for line in head[1:])
            fields = {name.lower(): value for name, _, value in named}
            length = int(fields.get("content-length", 0))
            delivery = fields.get("x-delivery-id", "").strip()
            if not delivery or not 0 <= length <= LARGEST_BODY:
                return b"400 Bad Request", "an X-Delivery-Id is needed, and a body that is not too long"
            body = await reader.readexactly(length)
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return b"400 Bad Request", "this is no request"
        try:
            return b"200 OK", await self.receive(delivery, body)
        except HandlerFailed as error:
            return b"500 Internal Server Error", str(error)


def work(listener: socket.socket, folder: str, command: list[str]) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(Receiver(folder, command).answer, sock=listener)
        await server.serve_forever()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which ends its workers
    asyncio.run(serve())


def main(folder: str, port: str, *command: str) -> None:
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    processes = multiprocessing.get_context("spawn")

    def start() -> BaseProcess:
        worker = processes.Process(target=work, args=(listener, folder, list(command)), daemon=True)
        worker.start()
        print("worker", worker.pid, flush=True)
        return worker

    workers = [start() for _ in range(WORKERS)]
    print("listening on port", listener.getsockname()[1], flush=True)
    while True:
        wait([worker.sentinel for worker in workers])
        workers = [worker if worker.is_alive() else start() for worker in workers]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # on the way out, the workers are ended too
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
