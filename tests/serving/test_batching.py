"""Batches between a real gateway side and a worker that the test plays over a socket pair."""

import asyncio
import socket

import numpy as np
import pyarrow as pa

from mlops_magics.serving import wire
from mlops_magics.serving.batching import Batcher, Failure, Item, WorkerLink
from mlops_magics.serving.layout import Layout
from mlops_magics.serving.validation import Column, Schema

SCHEMA = wire.arrow_schema(Schema([Column("x", "double")]))


class Played:
    """A worker's side: doubles x, fails a negative x, dies on 666, answers 777 with year 12020."""

    def __init__(self, batcher, delay=0.0):
        self.batcher = batcher
        self.delay = delay
        self.sizes = []

    async def join(self):
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: WorkerLink(self.batcher), sock=ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        before = self.batcher.ready
        self.task = loop.create_task(self.serve(reader, writer))
        while self.batcher.ready == before:
            await asyncio.sleep(0)

    async def serve(self, reader, writer):
        async def frame():
            length, params = wire.FRAME.unpack(await reader.readexactly(wire.FRAME.size))
            assert params == 0
            return await reader.readexactly(length)

        layout = Layout(pa.ipc.read_schema(pa.py_buffer(await frame())))
        writer.write(wire.REPLY.pack(wire.WELCOME, 0))
        while True:
            rows = layout.unpack(await frame()).frame()
            self.sizes.append(len(rows))
            if (rows["x"] == 666).any():
                writer.close()
                return
            if (rows["x"] < 0).any():
                status, body = wire.FAILURE, b"the model raised ValueError"
            elif (rows["x"] == 777).any():
                status = wire.ANSWER
                body = wire.pack_outputs(np.full(len(rows), "12020-01-01", "M8[s]"), len(rows))
            else:
                status = wire.ANSWER
                body = wire.pack_outputs(np.asarray(rows["x"] * 2), len(rows))
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(wire.REPLY.pack(status, len(body)) + body)


def run(values, *, workers=1, **limits):
    """Submit all values at once; return their outputs in order, and the sizes of the batches."""

    async def main():
        items = [Item([(value,)]) for value in values]
        left = asyncio.Event()

        def deliver(done):
            if all(item.outputs is not None for item in items):
                left.set()

        batcher = Batcher(SCHEMA, deliver, **limits)
        played = [Played(batcher) for _ in range(workers)]
        for one in played:
            await one.join()
        for item in items:
            try:
                batcher.submit(item)
            except Failure as failure:
                item.outputs = failure
        await asyncio.wait_for(left.wait(), 20)
        return [item.outputs for item in items], [one.sizes for one in played]

    return asyncio.run(main())


def test_requests_that_arrive_together_go_together_up_to_the_limit():
    outputs, [sizes] = run([float(i) for i in range(10)], max_rows=4)
    assert outputs == [[i * 2.0] for i in range(10)]
    assert sizes == [4, 4, 2]


def test_a_bad_request_never_fails_its_neighbours():
    outputs, [sizes] = run([1.0, -1.0, 3.0])
    assert outputs[0] == [2.0]
    assert outputs[2] == [6.0]
    assert (outputs[1].status, outputs[1].message) == (500, "the model raised ValueError")
    assert sizes == [3, 1, 1, 1]


def test_a_request_that_kills_its_worker_takes_no_other_down():
    outputs, _ = run([1.0, 666.0, 3.0], workers=3)
    assert outputs[0] == [2.0]
    assert outputs[2] == [6.0]
    assert outputs[1].status == 503


def test_an_answer_that_python_cannot_hold_is_a_failure_of_its_request_alone():
    outputs, _ = run([1.0, 777.0, 3.0])
    assert (outputs[0], outputs[2]) == ([2.0], [6.0])
    assert outputs[1].message == "the model's outputs cannot be serialised"


def test_past_the_queue_the_answer_is_429_at_once():
    outputs, _ = run([float(i) for i in range(6)], max_queue=4)
    assert [o.status for o in outputs if isinstance(o, Failure)] == [429, 429]


def asked_again(clients, times, delay):
    """Sizes of the batches of so many clients, who ask again as soon as they are answered."""

    async def main():
        waiting = {}

        def deliver(done):
            for item in done:
                waiting.pop(item).set_result(None)

        async def client(number):
            # half of them come later, and so wait for the others' batch
            await asyncio.sleep(delay / 2 * (number % 2))
            for _ in range(times):
                item = Item([(float(number),)])
                waiting[item] = asyncio.get_running_loop().create_future()
                answer = waiting[item]
                batcher.submit(item)
                await answer
                assert item.outputs == [number * 2.0]

        batcher = Batcher(SCHEMA, deliver)
        played = Played(batcher, delay)
        await played.join()
        while not batcher.ready:
            await asyncio.sleep(0.001)
        await asyncio.gather(*map(client, range(clients)))
        return played.sizes

    return asyncio.run(main())


def test_clients_of_a_slow_model_who_come_back_at_once_are_waited_for():
    sizes = asked_again(clients=8, times=20, delay=0.02)
    assert sizes[0] < 8
    assert sorted(sizes[-8:])[3] == 8


def test_a_fast_model_waits_for_nobody():
    assert sum(asked_again(clients=8, times=20, delay=0.0)) == 160


def test_without_a_worker_the_answer_is_503():
    async def main():
        batcher = Batcher(SCHEMA, lambda done: None)
        try:
            batcher.submit(Item([(1.0,)]))
        except Failure as failure:
            return failure.status

    assert asyncio.run(main()) == 503
