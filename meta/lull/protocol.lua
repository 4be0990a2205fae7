---@meta lull.protocol
---@class lull.protocol
local protocol = {}

---What happens to a connection; each may be absent, runs on the loop outside any task.
---@class lull.Protocol
---@field connection_made? fun(self, transport: lull.Transport)
---@field data_received? fun(self, data: string)
---@field eof_received? fun(self): boolean? a true value keeps the transport open
---@field connection_lost? fun(self, err: any?)
---@field pause_writing? fun(self)
---@field resume_writing? fun(self)
---@field datagram_received? fun(self, data: string, host: string, port: integer)
---@field error_received? fun(self, err: any)

---@param factory fun(): lull.Protocol
---@param opts? lull.connect_options
---@return lull.Transport? transport, lull.Protocol|string protocol, lull.code? code
function protocol.connect(factory, host, port, opts) end
---@param factory fun(): lull.Protocol
---@param opts? lull.listen_options
---@return lull.Listener? listener, string? message, lull.code? code
function protocol.listen(factory, host, port, opts) end
---@param factory fun(): lull.Protocol
---@return lull.DatagramTransport? transport, lull.Protocol|string protocol, lull.code? code
function protocol.datagram(factory, host, port, opts) end

---@param factory fun(): lull.Protocol
---@param path string
---@return lull.Transport? transport, lull.Protocol|string protocol, lull.code? code
function protocol.connect_unix(factory, path, opts) end
---@param factory fun(): lull.Protocol
---@param path string
---@return lull.Listener? listener, string? message, lull.code? code
function protocol.listen_unix(factory, path, opts) end
---A transport over a stream that is there already, and is the transport's from then on.
---@param factory fun(): lull.Protocol
---@param stream lull.Stream
---@return lull.Transport transport, lull.Protocol protocol
function protocol.wrap(factory, stream) end

---@class lull.AnyTransport
local AnyTransport = {}
function AnyTransport:close() end
function AnyTransport:abort() end
---@return boolean
function AnyTransport:is_closing() end
function AnyTransport:pause_reading() end
function AnyTransport:resume_reading() end
---@return boolean
function AnyTransport:is_reading() end
---@param limits {high: integer?, low: integer?}
function AnyTransport:set_write_buffer_limits(limits) end
---@return integer
function AnyTransport:get_write_buffer_size() end
---@param name "peername"|"sockname"|"tls"
function AnyTransport:get_extra_info(name) end

---@class lull.Transport: lull.AnyTransport
local Transport = {}
---@param data string
function Transport:write(data) end
---@param list string[]
function Transport:writelines(list) end
function Transport:write_eof() end

---What protocol.datagram gives.
---@class lull.DatagramTransport: lull.AnyTransport
local DatagramTransport = {}
---@param data string
---@param host? string
---@param port? integer
function DatagramTransport:sendto(data, host, port) end

return protocol
