"""A client of asyncio, for asyncio_spec: client.py port [ca_file]; prints "well" at the
end.  The server echoes; it shouts back what begins with "!"."""
import asyncio
import ssl
import sys


def context(ca):
    return ssl.create_default_context(cafile=ca) if ca else None


async def lines(reader, writer):
    for i in range(500):
        writer.write(b"!line %d\n" % i)
        assert await reader.readline() == b"!LINE %d\n" % i


async def blob(reader, writer):
    data = bytes(b for b in range(256) if b != ord("!")) * 8192
    writer.write(data)
    got = await reader.readexactly(len(data))
    assert got == data
    await writer.drain()


async def many(port, ca):
    async def one(i):
        reader, writer = await open_(port, ca)
        writer.write(b"!client %d\n" % i)
        assert await reader.readline() == b"!CLIENT %d\n" % i
        writer.close()
        await writer.wait_closed()
    await asyncio.gather(*[one(i) for i in range(20)])


async def open_(port, ca):
    return await asyncio.open_connection("localhost", port, ssl=context(ca))


async def main(port, ca=None):
    reader, writer = await open_(port, ca)
    await lines(reader, writer)
    await blob(reader, writer)
    if ca:
        writer.write(b"!bye\n")
        assert await reader.readline() == b"!BYE\n"
        assert await reader.read() == b""
    else:
        writer.write(b"the rest")
        writer.write_eof()
        assert await reader.read() == b"the rest"
    writer.close()
    await many(port, ca)
    print("well")


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
