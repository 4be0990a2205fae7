-- loop:add_reader and add_writer, on every selector: level-triggered callbacks for raw
-- descriptors.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

for _, backend in helper.backends() do
  describe("on " .. backend, function()
    local dir, reader, rfd, writer, wfd

    before_each(function()
      dir = helper.tempdir()
      reader, rfd, writer, wfd = helper.pipe(dir)
    end)

    after_each(function()
      reader:close()
      writer:close()
      getmetatable(dir).__close(dir)
    end)

    local function on(fn)
      return function() return run(fn, {selector = backend}) end
    end

    it("a reader is called with its arguments once it can read", on(function()
      local loop, log = lull.loop(), {}
      loop:add_reader(rfd, function(...)
        log[#log + 1] = {select("#", ...), ...}
        reader:read(1)
      end, "a", nil)
      lull.sleep(1)
      assert.same({}, log)
      writer:write "x"
      lull.sleep(1)
      assert.same({{2, "a"}}, log)
      assert.is_true(loop:remove_reader(rfd))
    end))

    it("a reader is called again and again until all is read", on(function()
      local loop, calls = lull.loop(), 0
      writer:write "abc"
      loop:add_reader(rfd, function()
        calls = calls + 1
        if calls > 5 then reader:read(1) end
      end)
      lull.sleep(1)
      assert.equal(8, calls)
      loop:remove_reader(rfd)
    end))

    it("a removed reader is not called, and removing says if there was one", on(function()
      local loop, calls = lull.loop(), 0
      assert.is_false(loop:remove_reader(rfd))
      loop:add_reader(rfd, function() calls = calls + 1 end)
      assert.is_true(loop:remove_reader(rfd))
      assert.is_false(loop:remove_reader(rfd))
      writer:write "x"
      lull.sleep(1)
      assert.equal(0, calls)
    end))

    it("a reader may remove itself", on(function()
      local loop, calls = lull.loop(), 0
      writer:write "xyz"
      loop:add_reader(rfd, function()
        calls = calls + 1
        assert(loop:remove_reader(rfd))
      end)
      lull.sleep(1)
      assert.equal(1, calls)
      loop:add_reader(rfd, function() calls = calls + 10 loop:remove_reader(rfd) end)
      lull.sleep(1)
      assert.equal(11, calls)
    end))

    it("a second reader takes the place of the first", on(function()
      local loop, log = lull.loop(), {}
      loop:add_reader(rfd, function() log[#log + 1] = "old" end)
      loop:add_reader(rfd, function()
        log[#log + 1] = "new"
        reader:read(1)
      end)
      writer:write "x"
      lull.sleep(1)
      assert.same({"new"}, log)
      assert.is_true(loop:remove_reader(rfd))
      assert.is_false(loop:remove_reader(rfd))
    end))

    it("a writer is called while there is room", on(function()
      local loop, calls = lull.loop(), 0
      assert.is_false(loop:remove_writer(wfd))
      loop:add_writer(wfd, function(who)
        calls = calls + 1
        assert(who == "w")
        if calls == 3 then loop:remove_writer(wfd) end
      end, "w")
      lull.sleep(1)
      assert.equal(3, calls)
      assert.is_false(loop:remove_writer(wfd))
    end))

    it("a reader is called at the end of the pipe too", on(function()
      local loop, calls = lull.loop(), 0
      writer:close()
      loop:add_reader(rfd, function()
        calls = calls + 1
        loop:remove_reader(rfd)
      end)
      lull.sleep(1)
      assert.equal(1, calls)
      writer = io.open("/dev/null") -- for after_each
    end))

    it("a writer is called when nobody reads any more", on(function()
      local loop, calls = lull.loop(), 0
      reader:close()
      loop:add_writer(wfd, function()
        calls = calls + 1
        loop:remove_writer(wfd)
      end)
      lull.sleep(1)
      assert.equal(1, calls)
      reader = io.open("/dev/null")
    end))

    it("a regular file is always ready for both", on(function()
      local path = dir:write("file", "text")
      local file, fd = helper.open(path, "r+")
      local loop, reads, writes = lull.loop(), 0, 0
      loop:add_reader(fd, function()
        reads = reads + 1
        if reads == 3 then loop:remove_reader(fd) end
      end)
      loop:add_writer(fd, function()
        writes = writes + 1
        if writes == 3 then loop:remove_writer(fd) end
      end)
      lull.sleep(1)
      assert.same({3, 3}, {reads, writes})
      file:close()
    end))

    it("a reader does not keep the virtual clock from jumping", on(function()
      local loop = lull.loop()
      loop:add_reader(rfd, function() end)
      local start = lull.now()
      lull.sleep(30)
      assert.equal(start + 30, lull.now())
      loop:remove_reader(rfd)
    end))

    it("a reader is called although some task never comes to rest", on(function()
      local loop, calls = lull.loop(), 0
      writer:write "x"
      loop:add_reader(rfd, function()
        calls = calls + 1
        reader:read(1)
      end)
      for _ = 1, 1000 do
        lull.sleep(0)
        if calls > 0 then break end
      end
      assert.equal(1, calls)
      loop:remove_reader(rfd)
    end))

    it("callbacks run outside of any task, and their errors are reported", function()
      local reports, err = {}, {}
      run(function()
        local loop, who = lull.loop(), nil
        writer:write "x"
        loop:add_reader(rfd, function()
          who = lull.current() or "nobody"
          reader:read(1)
          error(err)
        end)
        lull.sleep(1)
        assert.equal("nobody", who)
        assert.equal(1, #reports)
        assert.equal(err, reports[1].err)
        assert.is_nil(reports[1].task)
        loop:remove_reader(rfd)
      end, {selector = backend, reports = reports})
    end)

    it("a task can be woken by one, so waiting is no deadlock", function()
      run(function()
        local loop = lull.loop()
        writer:write "x"
        assert.equal("x", lull.await_callback(function(done)
          loop:add_reader(rfd, function()
            loop:remove_reader(rfd)
            done(reader:read(1))
          end)
        end))
      end, {selector = backend, guard = false})
    end)

    it("a descriptor of a lull object is refused", on(function()
      local loop = lull.loop()
      local a, b = lull.net.pair()
      assert.is_false(pcall(loop.add_reader, loop, a:fileno(), print))
      assert.is_false(pcall(loop.add_writer, loop, b:fileno(), print))
      a:close()
      b:close()
    end))

    it("what is no descriptor or no function is refused", on(function()
      local loop = lull.loop()
      assert.is_false(pcall(loop.add_reader, loop, -1, print))
      assert.is_false(pcall(loop.add_reader, loop, "x", print))
      assert.is_false(pcall(loop.add_reader, loop, rfd))
      assert.is_false(pcall(loop.add_reader, loop, rfd, 1))
      assert.is_false(loop:remove_reader(rfd))
    end))

    it("two loops may watch one descriptor, one after the other", function()
      for _ = 1, 3 do
        run(function()
          local loop, calls = lull.loop(), 0
          writer:write "x"
          loop:add_reader(rfd, function()
            calls = calls + 1
            reader:read(1)
          end)
          lull.sleep(1)
          assert.equal(1, calls) -- the loop is closed with its reader
        end, {selector = backend})
      end
    end)
  end)
end
