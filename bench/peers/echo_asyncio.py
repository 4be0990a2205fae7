"""The echo server with asyncio.  python3 echo_asyncio.py streams|protocol [uvloop]"""

import asyncio
import sys


async def stream(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main(style):
    loop = asyncio.get_running_loop()
    if style == "streams":
        server = await asyncio.start_server(stream, "127.0.0.1", 0, backlog=4096)
    else:
        server = await loop.create_server(Protocol, "127.0.0.1", 0, backlog=4096)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.install()
asyncio.run(main(sys.argv[1]))
