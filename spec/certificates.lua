-- Certificates for the specs of TLS, made by the command openssl in a directory of their
-- own: local certificates <close> = require "spec.certificates" (); certificates "server"
-- is tls options with that certificate and its key, certificates.path "ca.pem" a file.
local helper = require "spec.helper"

local SCRIPT = [[
set -e
cd "$1"
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@" 2>/dev/null; }

ca() { new -x509 -days 30 -keyout "$1.key" -out "$1.pem" -subj "/CN=lull $1"; }

# sign <name> <ca> <common name> <alternative names> <days> [more extensions]
sign() {
    new -keyout "$1.key" -out "$1.csr" -subj "/CN=$3"
    printf 'subjectAltName=%s\n%s\n' "$4" "$6" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial \
        -days "$5" -extfile "$1.ext" -out "$1.pem" 2>/dev/null
}

ca ca
ca other
here=DNS:localhost,DNS:*.wild.example,IP:127.0.0.1,IP:::1
sign server ca localhost $here 30
sign wrong ca elsewhere DNS:elsewhere.example 30
sign expired ca localhost $here -1
sign client ca alice email:alice@example.org 30
sign stranger other mallory email:mallory@example.org 30
sign between ca between DNS:between 30 'basicConstraints=CA:TRUE'
sign leaf between localhost $here 30
cat leaf.pem between.pem >chain.pem
cp leaf.key chain.key
new -x509 -days 30 -keyout own.key -out own.pem -subj /CN=localhost \
    -addext subjectAltName=$here
openssl ec -in server.key -aes128 -passout pass:secret -out locked.key 2>/dev/null
cp server.pem locked.pem
cat server.pem server.key >both.pem
mkdir hashed
cp ca.pem "hashed/$(openssl x509 -in ca.pem -noout -hash).0"
echo "this is no certificate" >garbage.pem
]]

return function()
  local dir = helper.tempdir()
  local script = dir:write("make.sh", SCRIPT)
  assert(os.execute(("sh %s %s"):format(script, dir.path)), "no openssl?")
  local certificates = {}

  function certificates.path(name)
    return dir.path .. "/" .. name
  end

  -- Options with a certificate (nil: none), and with whatever more says.
  local function options(_, name, more)
    local tls = {}
    if name then
      tls.cert_file = certificates.path(name .. ".pem")
      tls.key_file = certificates.path(name .. ".key")
    end
    for key, value in pairs(more or {}) do tls[key] = value end
    return tls
  end

  -- TLS on a stream, as the server or as one who trusts it; what starttls returns.
  function certificates.serve(stream, more)
    local tls = certificates("server", more)
    tls.server = true
    return stream:starttls(tls)
  end

  function certificates.meet(stream, more)
    local tls = {ca_file = certificates.ca, server_name = "localhost"}
    for key, value in pairs(more or {}) do tls[key] = value end
    return stream:starttls(tls)
  end

  local function close()
    getmetatable(dir).__close()
  end

  function certificates.write(name, text)
    return dir:write(name, text)
  end

  certificates.close = close
  certificates.ca = certificates.path "ca.pem"
  return setmetatable(certificates, {__call = options, __close = close})
end
