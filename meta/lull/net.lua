---@meta lull.net
---@class lull.net
local net = {}

---@class lull.tls_options
---@field ca_file? string
---@field ca_path? string
---@field cert_file? string
---@field key_file? string
---@field verify? boolean
---@field server_name? string
---@field alpn? string[]
---@field min_version? "1.2"|"1.3"
---@field ciphers? string
---@field server? boolean

---@class lull.stream_options
---@field tls? boolean|lull.tls_options
---@field limit? integer how long a line may be
---@field high_water? integer how much may wait to be sent before writers do
---@field linger? lull.seconds for what is unsent at close

---@class lull.connect_options: lull.stream_options
---@field timeout? lull.seconds|false default 30
---@field bind? string|{[1]: string, [2]: integer}
---@field nodelay? boolean
---@field keepalive? boolean
---@field happy_eyeballs_delay? lull.seconds

---@class lull.listen_options: lull.stream_options
---@field backlog? integer
---@field reuse_address? boolean
---@field reuse_port? boolean

---@class lull.serve_options
---@field on_error? fun(err: any, stream: lull.Stream)
---@field max_connections? integer
---@field handshake_timeout? lull.seconds
---@field grace? lull.seconds

---Suspends.
---@param host string
---@param port integer
---@param opts? lull.connect_options
---@return lull.Stream? stream, string? message, lull.code? code
function net.connect(host, port, opts) end

---@param path string
---@param opts? lull.connect_options
---@return lull.Stream? stream, string? message, lull.code? code
function net.connect_unix(path, opts) end

---@param host string
---@param port integer 0 picks one
---@param opts? lull.listen_options
---@return lull.Listener? listener, string? message, lull.code? code
function net.listen(host, port, opts) end

---@param path string
---@param opts? lull.listen_options
---@return lull.Listener? listener, string? message, lull.code? code
function net.listen_unix(path, opts) end

---@param host string
---@param port integer
---@param opts? table
---@return lull.Datagram? datagram, string? message, lull.code? code
function net.udp(host, port, opts) end

---@param host string
---@param opts? {family: "inet"|"inet6"?, resolver: "dns"|"system"?}
---@return {host: string, family: string}[]? addresses, string? message, lull.code? code
function net.resolve(host, opts) end

---@return lull.Stream a, lull.Stream b
function net.pair(opts) end

---@param family? "inet"|"inet6"|"unix"
---@param type? "stream"|"dgram"
---@return lull.Socket? socket, string? message, lull.code? code
function net.socket(family, type) end

---@class lull.Stream
local Stream = {}
---@param ... "l"|"L"|"n"|"a"|integer
---@return string|number|nil ...
function Stream:read(...) end
---@param max? integer
---@return string? data, string? message, lull.code? code
function Stream:read_some(max) end
---@param n integer
---@return string? data, string? message, lull.code? code
function Stream:read_exactly(n) end
---@param delimiter string
---@param max? integer
---@return string? data, string? message, lull.code? code
function Stream:read_until(delimiter, max) end
---@return fun(): ...
function Stream:lines(...) end
---@param ... string|number
---@return lull.Stream? stream, string? message, lull.code? code
function Stream:write(...) end
---@param ... string|number
---@return lull.Stream? stream, string? message, lull.code? code
function Stream:try_write(...) end
---@return lull.Stream? stream, string? message, lull.code? code
function Stream:flush() end
---@param to lull.Stream
---@param n? integer
---@return integer? bytes, string? message, lull.code? code
function Stream:relay(to, n) end
---@param how "read"|"write"|"both"
---@return lull.Stream? stream, string? message, lull.code? code
function Stream:shutdown(how) end
function Stream:close() end
function Stream:abort() end
---@return string? host, integer? port
function Stream:peer() end
---@return string? host, integer? port
function Stream:local_address() end
---@return integer fd
function Stream:fileno() end
---@param seconds lull.seconds?
---@return lull.Stream
function Stream:settimeout(seconds) end
---@param opts? lull.tls_options
---@return lull.Stream? stream, string? message, lull.code? code
function Stream:starttls(opts) end
---@return lull.Stream? stream, string? message, lull.code? code
function Stream:handshake() end
---@return {version: string, cipher: string, alpn: string?, server_name: string?, verified: boolean, peer_certificate: string?}?
function Stream:tls_info() end

---@class lull.Listener
local Listener = {}
---@return lull.Stream? stream, string? message, lull.code? code
function Listener:accept() end
---@return fun(): lull.Stream
function Listener:accepts() end
---@param handler fun(stream: lull.Stream)
---@param opts? lull.serve_options
---@return true? ok, string? message, lull.code? code
function Listener:serve(handler, opts) end
---@return string host, integer port
function Listener:local_address() end
---@param seconds lull.seconds?
---@return lull.Listener
function Listener:settimeout(seconds) end
---@return integer fd
function Listener:fileno() end
function Listener:close() end

---@class lull.Datagram
local Datagram = {}
---@return true? ok, string? message, lull.code? code
function Datagram:connect(host, port) end
---@return true? ok, string? message, lull.code? code
function Datagram:send(data) end
---@return true? ok, string? message, lull.code? code
function Datagram:sendto(data, host, port) end
---@return string? data, string host, integer port
function Datagram:recvfrom() end
---@return string host, integer port
function Datagram:local_address() end
---@return string? host, integer? port
function Datagram:peer() end
---@return integer fd
function Datagram:fileno() end
function Datagram:settimeout(seconds) end
function Datagram:close() end

---One system call thin; each method suspends until it can be done.
---@class lull.Socket
local Socket = {}
function Socket:connect(host, port) end
function Socket:bind(host, port) end
function Socket:listen(backlog) end
---@return lull.Socket? socket, string? message, lull.code? code
function Socket:accept() end
---@return string? data, string? message, lull.code? code
function Socket:recv(n) end
---@return integer? count, string? message, lull.code? code
function Socket:send(data) end
---@return true? ok, string? message, lull.code? code
function Socket:sendall(data) end
---@return string? data, string host, integer port
function Socket:recvfrom(n) end
---@return integer? count, string? message, lull.code? code
function Socket:sendto(data, host, port) end
---@param name "reuseaddr"|"reuseport"|"nodelay"|"keepalive"|"broadcast"|"rcvbuf"|"sndbuf"|"error"
function Socket:setoption(name, value) end
---@param name "reuseaddr"|"reuseport"|"nodelay"|"keepalive"|"broadcast"|"rcvbuf"|"sndbuf"|"error"
function Socket:getoption(name) end
---@param how "read"|"write"|"both"
function Socket:shutdown(how) end
function Socket:peer() end
function Socket:local_address() end
function Socket:settimeout(seconds) end
---@return integer fd
function Socket:fileno() end
function Socket:close() end

return net
