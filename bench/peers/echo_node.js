// The echo server with Node.js.  node echo_node.js [port]

const net = require('net');

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => {
    if (!socket.write(data)) {
      socket.pause();
      socket.once('drain', () => socket.resume());
    }
  });
  socket.on('error', () => socket.destroy());
});
server.listen({ host: '127.0.0.1', port: +process.argv[2] || 0, backlog: 4096 }, () => {
  console.log(`port ${server.address().port}`);
});
