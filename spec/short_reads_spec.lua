-- A receive that comes back short is taken to mean that the descriptor is empty, and the
-- next one waits without asking.  Whatever the kind of descriptor, nothing may hang.
-- Terminals take a moment to pass data on, so for them time is real.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local core = require "lull.core"
local probe = require "probe"

-- Both ends of each kind: what is written to the second comes out of the first.
local kinds = {
  tcp = probe.tcp,
  unix = probe.pair,
  pipe = probe.pipe,
  pty = probe.pty,
}

for _, backend in helper.backends() do
  describe("short reads on " .. backend, function()
    local function on(fn, real)
      return function() return run(fn, {selector = backend, real = real}) end
    end

    for name, make in pairs(kinds) do
      local moment = name == "pty" and 0.002 or 1
      describe("from a " .. name, function()
        it("wait for more, again and again", on(function()
          local fd, raw = make()
          local s <close> = core.stream(fd)
          for i = 1, 5 do
            local reader = lull.spawn(s.read_some, s)
            lull.sleep(moment)
            probe.write(raw, ("line %d\n"):format(i))
            assert.matches("^line " .. i, reader:await())
          end
          probe.close_fd(raw)
        end, name == "pty"))

        it("see what came while nobody waited", on(function()
          local fd, raw = make()
          local s <close> = core.stream(fd)
          for i = 1, 5 do
            probe.write(raw, ("line %d\n"):format(i))
            lull.sleep(moment)
            assert.matches("^line " .. i, s:read_some())
          end
          probe.close_fd(raw)
        end, name == "pty"))

        it("see data that comes between two reads of a turn", on(function()
          local fd, raw = make()
          local s <close> = core.stream(fd)
          for i = 1, 5 do
            probe.write(raw, i .. "\n")
            assert.matches("^" .. i, s:read_some())
          end
          probe.close_fd(raw)
        end, name == "pty"))

        if name ~= "pty" then -- a terminal that hangs up fails with EIO
          it("see data and the end that come together", on(function()
            local fd, raw = make()
            local s <close> = core.stream(fd)
            local reader = lull.spawn(s.read_some, s)
            lull.sleep(1)
            probe.write(raw, "last")
            probe.close_fd(raw)
            assert.equal("last", reader:await())
            assert.is_nil(s:read_some())
          end))

          it("see the end that comes later", on(function()
            local fd, raw = make()
            local s <close> = core.stream(fd)
            probe.write(raw, "last")
            assert.equal("last", s:read_some())
            local reader = lull.spawn(s.read_some, s)
            lull.sleep(1)
            probe.close_fd(raw)
            assert.is_nil(reader:await())
          end))

          it("see exactly as much as was asked for, and what follows", on(function()
            local fd, raw = make()
            local s <close> = core.stream(fd)
            local text = ("x"):rep(4096)
            local reader = lull.spawn(s.read, s, 40 * 4096)
            for _ = 1, 40 do
              lull.sleep(0.1)
              assert.equal(4096, probe.write(raw, text))
            end
            assert.equal(40 * 4096, #reader:await())
            probe.write(raw, "y")
            assert.equal("y", s:read_some())
            probe.close_fd(raw)
            assert.is_nil(s:read(1))
          end))
        end
      end)
    end

    -- which no selector can watch: it counts as ready, always
    it("see what was added to a file", on(function()
      local dir <close> = helper.tempdir()
      local path = dir:write("file", "one\n")
      local s <close> = core.stream(probe.open(path))
      for _, line in ipairs {"one\n", "two\n", "three\n"} do
        assert.equal(line, s:read_some())
        local more = line == "one\n" and "two\n" or line == "two\n" and "three\n"
        if more then
          local file <close> = assert(io.open(path, "a"))
          file:write(more)
        end
      end
      assert.is_nil(s:read_some())
    end))

    it("end when the reader of a terminal hangs up", on(function()
      local master, slave = probe.pty()
      local s <close> = core.stream(master)
      probe.write(slave, "x\n")
      assert.matches("^x", s:read_some())
      local reader = lull.spawn(s.read_some, s)
      lull.sleep(0.002)
      probe.close_fd(slave)
      local data, _, code = reader:await()
      assert.is_nil(data)
      assert.equal("EIO", code)
    end, true))

    it("step over urgent data", on(function()
      local fd, raw = probe.tcp()
      local s <close> = core.stream(fd)
      local reader = lull.spawn(s.read_some, s)
      lull.sleep(1)
      probe.write(raw, "before")
      probe.urgent(raw, "!")
      probe.await_urgent(fd)
      probe.write(raw, "after")
      local text = reader:await()
      while text ~= "beforeafter" do text = text .. s:read_some() end
      reader = lull.spawn(s.read_some, s)
      lull.sleep(1)
      probe.urgent(raw, "!")
      lull.sleep(1)
      assert.equal("pending", reader:status())
      probe.write(raw, "end")
      assert.equal("end", reader:await())
      probe.close_fd(raw)
      assert.is_nil(s:read_some())
    end))

    it("stop at descriptors that are passed, and go on behind them", on(function()
      local fd, raw = probe.pair()
      local s <close> = core.stream(fd)
      local reader = lull.spawn(s.read, s, 5)
      lull.sleep(1)
      probe.write(raw, "ab")
      probe.pass(raw, raw)
      probe.write(raw, "cd")
      assert.equal("ab!cd", reader:await())
      probe.close_fd(raw)
      assert.is_nil(s:read(1))
    end))

    it("do not starve a reader of a big backlog", on(function()
      local fd, raw = probe.pair()
      local s <close> = core.stream(fd)
      local n = probe.fill(raw)
      probe.close_fd(raw)
      assert.equal(n, #s:read "a")
    end))
  end)
end
