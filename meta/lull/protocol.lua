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
---@return lull.Transport? transport, lull.Protocol|string protocol, lull.code? code
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

---@class lull.Transport
local Transport = {}
function Transport:write(data) end
function Transport:writelines(list) end
function Transport:sendto(data, host, port) end
function Transport:write_eof() end
function Transport:close() end
function Transport:abort() end
---@return boolean
function Transport:is_closing() end
function Transport:pause_reading() end
function Transport:resume_reading() end
---@return boolean
function Transport:is_reading() end
---@param limits {high: integer?, low: integer?}
function Transport:set_write_buffer_limits(limits) end
---@return integer
function Transport:get_write_buffer_size() end
---@param name "peername"|"sockname"|"tls"
function Transport:get_extra_info(name) end

return protocol
