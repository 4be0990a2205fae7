"""A server of asyncio, for asyncio_spec: server.py [cert_file key_file]; prints its port.
The first line of a connection says what is to happen: echo, flood, reset, count."""
import asyncio
import socket
import ssl
import struct
import sys


async def serve(reader, writer):
    command = await reader.readline()
    if command == b"echo\n":
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    elif command == b"flood\n":
        writer.write(bytes(range(256)) * 8192)
    elif command == b"reset\n":
        writer.write(b"before\n")
        await writer.drain()
        await reader.readline()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    elif command == b"count\n":
        data = await reader.read()
        writer.write(b"%d\n" % len(data))
    writer.close()


async def main(cert=None, key=None):
    tls = None
    if cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
