---@meta lull.net
---@class lull.net
local net = {}

---@class lull.tls_options
---@field ca_file? string
---@field ca_path? string
---@field cert_file? string
---@field key_file? string
---@field verify? boolean|"optional"
---@field server_name? string
---@field alpn? string[]
---@field min_version? "1.0"|"1.1"|"1.2"|"1.3"
---@field max_version? "1.2"|"1.3"
---@field ciphers? string
---@field server? boolean

---@class lull.stream_options
---@field tls? boolean|lull.tls_options
---@field limit? integer how long a line may be
---@field high_water? integer how much may wait to be sent before writers do
---@field linger? lull.seconds for what is unsent at close

---How a name becomes an address.
---@class lull.name_options
---@field resolver? "dns"|"system"
---@field servers? string[] "192.0.2.53", "192.0.2.53:5353"
---@field hosts? string|boolean path of a hosts file; true: /etc/hosts
---@field search? string[]
---@field ndots? integer
---@field attempts? integer
---@field attempt_timeout? lull.seconds

---@class lull.resolve_options: lull.name_options
---@field family? "any"|"inet"|"inet6"
---@field timeout? lull.seconds

---@class lull.udp_options: lull.name_options
---@field timeout? lull.seconds for the look-up
---@field reuse_address? boolean
---@field reuse_port? boolean
---@field broadcast? boolean
---@field ipv6_only? boolean
---@field ttl? integer
---@field multicast_ttl? integer
---@field multicast_loop? boolean
---@field multicast_interface? string|integer
---@field rcvbuf? integer
---@field sndbuf? integer

---@class lull.connect_options: lull.stream_options, lull.name_options
---@field timeout? lull.seconds|false default 30
---@field bind? string|{[1]: string, [2]: integer}
---@field nodelay? boolean
---@field keepalive? boolean
---@field happy_eyeballs_delay? lull.seconds|false

---@class lull.listen_options: lull.stream_options, lull.name_options
---@field backlog? integer
---@field nodelay? boolean
---@field keepalive? boolean
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
---@param opts? lull.udp_options
---@return lull.Datagram? datagram, string? message, lull.code? code
function net.udp(host, port, opts) end

---@param host string
---@param opts? lull.resolve_options
---@return {host: string, family: string}[]? addresses, string? message, lull.code? code
function net.resolve(host, opts) end

---@param opts? lull.stream_options
---@return lull.Stream a, lull.Stream b
function net.pair(opts) end

---@param family? "inet"|"inet6"|"unix"
---@param type? "stream"|"dgram"
---@return lull.Socket? socket, string? message, lull.code? code
function net.socket(family, type) end

---What somebody else has opened, as an object, whose it is then.
---@param descriptor integer
---@param opts? lull.stream_options
---@return lull.Stream|lull.Listener|lull.Datagram|lull.Socket? object, string? message, lull.code? code
function net.adopt(descriptor, opts) end

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
---@return {version: string, cipher: string, alpn: string?, server_name: string?, verified: boolean, peer_certificate: string?, resumed: boolean}?
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

---@alias lull.socket_option
---| "reuseaddr"|"reuseport"|"nodelay"|"keepalive"|"broadcast"|"v6only"|"ttl"|"multicast_ttl"
---| "multicast_loop"|"multicast_interface"|"rcvbuf"|"sndbuf"|"error"

---What sockets of either kind have.
---@class lull.AnySocket
local AnySocket = {}
---@return true? ok, string? message, lull.code? code
function AnySocket:bind(host, port) end
---@return true? ok, string? message, lull.code? code
function AnySocket:connect(host, port) end
---@return integer? count, string? message, lull.code? code
function AnySocket:send(data) end
---@return integer? count, string? message, lull.code? code
function AnySocket:sendto(data, host, port) end
---@param n? integer
---@return string? data, string host, integer port
function AnySocket:recvfrom(n) end
---Receives what is sent to a multicast group, from now on.
---@param group string
---@param interface? string|integer
---@return true? ok, string? message, lull.code? code
function AnySocket:join(group, interface) end
---@param group string
---@param interface? string|integer
---@return true? ok, string? message, lull.code? code
function AnySocket:leave(group, interface) end
---@param name lull.socket_option
---@return true? ok, string? message, lull.code? code
function AnySocket:setoption(name, value) end
---@param name lull.socket_option
---@return boolean|integer|nil value, string? message, lull.code? code
function AnySocket:getoption(name) end
---@param how "read"|"write"|"both"
---@return true? ok, string? message, lull.code? code
function AnySocket:shutdown(how) end
---@return string? host, integer? port
function AnySocket:peer() end
---@return string? host, integer? port
function AnySocket:local_address() end
---@return "inet"|"inet6"|"unix"
function AnySocket:family() end
---@param seconds lull.seconds? for each call that waits
---@return self
function AnySocket:settimeout(seconds) end
---@return lull.seconds?
function AnySocket:timeout() end
---@return integer fd
function AnySocket:fileno() end
function AnySocket:close() end

---UDP, whole datagrams at a time.
---@class lull.Datagram: lull.AnySocket

---One system call thin; each method suspends until it can be done.
---@class lull.Socket: lull.AnySocket
local Socket = {}
---@param backlog? integer
---@return true? ok, string? message, lull.code? code
function Socket:listen(backlog) end
---@return lull.Socket? socket, string? message, lull.code? code
function Socket:accept() end
---@param n? integer
---@return string? data, string? message, lull.code? code
function Socket:recv(n) end
---@return true? ok, string? message, lull.code? code
function Socket:sendall(data) end
---With descriptors, over a Unix socket.
---@param data string
---@param descriptors (integer|lull.Stream|lull.Socket|lull.Listener)[]
---@return integer? count, string? message, lull.code? code
function Socket:sendmsg(data, descriptors) end
---@param n? integer
---@param max? integer how many descriptors; default 16
---@return string? data, integer[]|string descriptors, string? truncated
function Socket:recvmsg(n, max) end
---Closes it without its descriptor, which is the caller's from now on.
---@return integer fd
function Socket:detach() end

return net
