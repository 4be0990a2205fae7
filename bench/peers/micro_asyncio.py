"""The micro rows with asyncio.  [UVLOOP=1] python3 micro_asyncio.py ROW N"""

import asyncio
import gc
import os
import random
import sys
import threading
import time
from queue import SimpleQueue

RING = 100


async def switch(n):
    async def body():
        for _ in range(n // RING):
            await asyncio.sleep(0)

    await asyncio.gather(*(body() for _ in range(RING)))


async def spawn(n):
    async def body():
        pass

    loop = asyncio.get_running_loop()
    for _ in range(n // RING):
        tasks = [loop.create_task(body()) for _ in range(RING)]
        await asyncio.sleep(0)
    await asyncio.wait(tasks)


async def trip(n):
    loop = asyncio.get_running_loop()
    box = None

    async def ask():
        nonlocal box
        for _ in range(n):
            box = loop.create_future()
            await box

    asker = loop.create_task(ask())
    await asyncio.sleep(0)
    for i in range(n):
        box.set_result(i)
        await asyncio.sleep(0)
    await asker


async def queue(n):
    q = asyncio.Queue(16)

    async def feed():
        for i in range(n):
            await q.put(i)

    feeder = asyncio.create_task(feed())
    for _ in range(n):
        await q.get()
    await feeder


async def timer(n):
    loop = asyncio.get_running_loop()
    for _ in range(n):
        loop.call_later(60, print).cancel()


async def call(n):
    loop = asyncio.get_running_loop()

    def body():
        pass

    await loop.run_in_executor(None, body)
    began = time.perf_counter()
    for _ in range(n):
        await loop.run_in_executor(None, body)
    return time.perf_counter() - began


async def message(n):
    loop = asyncio.get_running_loop()
    there, back = SimpleQueue(), asyncio.Queue()

    def echo():
        while (v := there.get()) is not None:
            loop.call_soon_threadsafe(back.put_nowait, v)

    thread = threading.Thread(target=echo)
    thread.start()
    began = time.perf_counter()
    for i in range(n):
        there.put(i)
        await back.get()
    took = time.perf_counter() - began
    there.put(None)
    thread.join()
    return took


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def sleepers(n):
    async def body():
        await asyncio.sleep(1e6)

    loop = asyncio.get_running_loop()
    gc.collect()
    before = resident()
    tasks = [loop.create_task(body()) for _ in range(n)]
    await asyncio.sleep(0)
    gc.collect()
    print(f"row=sleepers bytes={(resident() - before) / len(tasks):.1f}", flush=True)
    os._exit(0)


async def million(n):
    """See bench/million.lua."""
    loop = asyncio.get_running_loop()
    day = n * float(sys.argv[3] if len(sys.argv) > 3 else 8) * 1e-6
    noon, evening = loop.time() + day, loop.time() + 2 * day
    woken, stall, ticked = 0, 0, time.process_time()
    marks, stalls = [], []
    before = resident()

    def tick():
        nonlocal stall, ticked
        t = time.process_time()
        stall, ticked = max(stall, t - ticked), t

    def mark():
        nonlocal stall
        tick()
        marks.append(ticked)
        stalls.append(stall * 1e3)
        stall = 0

    def wake():
        nonlocal woken
        woken += 1
        if woken % n == 0:
            mark()

    async def sleeper():
        await asyncio.sleep(noon - loop.time())
        wake()
        await asyncio.sleep(evening + random.random() * n * 1e-6 - loop.time())
        wake()

    mark()
    tasks = [loop.create_task(sleeper()) for _ in range(n)]
    await asyncio.sleep(0)
    size = (resident() - before) / n
    mark()
    if loop.time() > noon:
        print("row=million late=1", flush=True)
        os._exit(0)
    while woken < 2 * n:
        await asyncio.sleep(0.001)
        tick()
    spawned, slept, rose = [(b - a) / n * 1e9 for a, b in zip(marks, marks[1:])]
    print(
        f"row=million spawn={spawned:.1f} noon={slept:.1f} random={rose:.1f} "
        f"ns={spawned + slept + rose:.1f} bytes={size:.1f} "
        f"stall={stalls[2]:.2f} stall_random={stalls[3]:.2f}",
        flush=True,
    )
    assert len(tasks) == n
    os._exit(0)


row, n = sys.argv[1], int(sys.argv[2])
if os.environ.get("UVLOOP"):
    import uvloop

    uvloop.install()
began = time.process_time()
took = asyncio.run(globals()[row](n))
cpu = time.process_time() - began
print(f"row={row} ns={(took or cpu) / n * 1e9:.3f} cpu_ns={cpu / n * 1e9:.3f}")
