-- The state in which a call runs is kept for the next one: what is found there is what a
-- new state has, and what has to happen at the end of a state happens at the end of each
-- call.
-- luacheck: globals LEFT LULL string math coroutine
local core = require "lull.core"
local helper = require "spec.helper"
local lull = require "lull"
local thread = require "lull.thread"

local build = os.getenv "LULL_BUILD" or ""
local raced = build:find "tsan$"
local mode = build:find "stress$" and "incremental" or "generational" -- not the usual one

-- All calls of fn go to one thread.
local function run(fn)
  return helper.run(function()
    thread.limit("calls", 1)
    local _ <close> = lull.defer(thread.limit, "calls", 4)
    fn()
  end, {real = true})
end

-- What calls leave behind, and a look that sees it.
local stains = {
  {"a global", function() LEFT = 1 end, function() return rawget(_G, "LEFT") end},
  {"a metatable of the globals", function() setmetatable(_G, {}) end,
    function() return getmetatable(_G) end},
  {"a function of a library", function() string.rep = print end,
    function() return string.rep == print end},
  {"a library", function() string.left = 1 math = nil end,
    function() return string.left, math == nil end},
  {"the metatable of strings", function() getmetatable("").__index = {left = 1} end,
    function() return ("").left end},
  {"metatables of basic types", function()
    for _, v in ipairs {1, true, print, coroutine.create(print)} do
      debug.setmetatable(v, {__index = {left = 1}})
    end
    debug.setmetatable(nil, {__index = {left = 1}})
  end, function()
    return debug.getmetatable(1), debug.getmetatable(true), debug.getmetatable(print),
      debug.getmetatable(coroutine.create(print)), debug.getmetatable(nil)
  end},
  {"a loaded module", function()
    package.preload.left = function() return {} end
    require "left"
  end, function() return package.loaded.left, package.preload.left end},
  {"searchers", function() package.searchers[1] = print end,
    function() return package.searchers[1] == print end},
  {"the registry", function() debug.getregistry().left = 1 end,
    function() return debug.getregistry().left end},
  {"a hook", function() debug.sethook(function() end, "", 1000) end,
    function() return (debug.gethook()) end},
  {"the " .. mode .. " mode", load(("collectgarbage '%s'"):format(mode)),
    load(("return collectgarbage '%s' == '%s'"):format(mode,
      mode))},
  {"the pace of the collector", function()
    collectgarbage("setpause", 800)
    collectgarbage("setstepmul", 400)
  end, function()
    return collectgarbage("setpause", 4) == 800, collectgarbage("setstepmul", 4) == 400
  end},
  {"a stopped collector", function() collectgarbage "stop" end,
    function() return not collectgarbage "isrunning" end},
  {"a seed", function() math.randomseed(7) end, function()
    local got = math.random(0)
    math.randomseed(7)
    return got == math.random(0)
  end},
  {"where output goes", function() io.output(io.stderr) end,
    function() return io.output() == io.stderr end},
  {"what belongs to a file", function() getmetatable(io.stdout).left = 1 end,
    function() return getmetatable(io.stdout).left end},
  {"the coroutine library", function() coroutine.resume = print end,
    function() return coroutine.resume == print end},
  {"an upvalue", function() debug.setupvalue(coroutine.wrap, 1, false) end,
    function() return select(2, debug.getupvalue(coroutine.wrap, 1)) == false end},
  {"a coroutine", function()
    debug.getregistry().left = coroutine.wrap(function() coroutine.yield() end)
    debug.getregistry().left()
  end, function() return debug.getregistry().left end},
  {"much", function()
    local t = {}
    for i = 1, 1e4 do t[i] = {tostring(i)} end
    LEFT = t
  end, function()
    collectgarbage()
    return collectgarbage "count" > 500
  end},
  {"large strings", function()
    LEFT = {}
    for i = 1, 40 do LEFT[i] = ("x"):rep(10000 * i) end
  end, function() return rawget(_G, "LEFT") end},
  {"an open file", function() LEFT = io.open "/dev/null" io.input(LEFT) end,
    function() return rawget(_G, "LEFT"), io.input() ~= io.stdin or nil end},
  {"a table with a finalizer", function() LEFT = setmetatable({}, {__gc = rawlen}) end,
    function() return rawget(_G, "LEFT") end},
  {"lull", function()
    local inner = require "lull"
    inner.run(inner.sleep, 0)
    LULL = inner
  end, function() return package.loaded.lull, package.loaded["lull.core"] end},
}

-- Runs what is to be left behind, and then ends in some way.
local function leave(code, ends)
  load(code)()
  if ends == "error" then error "on purpose" end
  while ends == "endless" do local _ = {} end
end

-- Does it see something, in what was left by the same call or by none?
local function look(code, stain)
  if stain then load(stain)() end
  local seen = table.pack(load(code)())
  for i = 1, seen.n do
    if seen[i] then return true end
  end
  return false
end

describe("the state of a call", function()
  for _, stain in ipairs(stains) do
    it("is as new after one that left " .. stain[1], function()
      local left, seen = string.dump(stain[2]), string.dump(stain[3])
      run(function()
        assert.is_true(thread.call(look, seen, left))
        assert.is_false(thread.call(look, seen))
        for _, ends in ipairs {"return", "error", "endless"} do
          if ends == "endless" then
            lull.timeout(0.02, thread.call, leave, left, ends)
          else
            pcall(thread.call, leave, left, ends)
          end
          assert.is_false(thread.call(look, seen), ends)
          assert.is_false(thread.call(look, seen), ends)
        end
      end)
    end)
  end

  it("is as new after one whose stack overflowed", function()
    run(function()
      assert.matches("stack overflow", select(2, pcall(thread.call, function()
        local function deep() return 1 + deep() end
        LEFT = 1
        deep()
      end)))
      assert.is_nil(thread.call(function() return rawget(_G, "LEFT") end))
    end)
  end)

  it("has the same memory in use each time", function()
    run(function()
      local function count()
        local first = collectgarbage "count"
        collectgarbage()
        return first, collectgarbage "count"
      end
      thread.call(count)
      thread.call(count)
      local first, collected = thread.call(count)
      thread.call(function() LEFT = {("x"):rep(100), {}} end)
      thread.call(function() LEFT = io.tmpfile() end)
      thread.call(count)
      assert.same({first, collected}, {thread.call(count)})
    end)
  end)

  it("has random numbers of its own", function()
    run(function()
      local seen = {}
      for _ = 1, 200 do
        local x = thread.call(function() return math.random(0) end)
        assert.is_nil(seen[x])
        seen[x] = true
      end
    end)
  end)

  it("has what the caller has at the time", function()
    run(function()
      local path, cpath, global = package.path, package.cpath, rawget(_G, "lull")
      local _ <close> = lull.defer(function()
        package.path, package.cpath = path, cpath
        rawset(_G, "lull", global)
      end)
      local function get()
        local there = rawget(_G, "lull")
        return package.path, package.cpath, there and there.version
      end
      local function check() assert.same({get()}, {thread.call(get)}) end
      for _ = 1, 2 do
        check()
        package.path = path .. ";one"
        check()
        package.cpath = cpath .. ";two"
        check()
        rawset(_G, "lull", lull)
        check()
        rawset(_G, "lull", nil)
        check()
        package.path = ""
        check()
        package.path = 42
        assert.equal("string", (thread.call(function() return type(package.path) end)))
        package.path, package.cpath = path, cpath
      end
    end)
  end)

  it("is as new with whatever functions, called again and again", function()
    run(function()
      local function code(text)
        return load("LEFT = (LEFT or 0) + 1 return LEFT, " .. text)
      end
      local functions = {code "1", code("#'" .. ("x"):rep(200000) .. "'"),
        code("#'" .. ("y"):rep(20000) .. "'"), code "require 'lull.queue' and 2",
        code(("(function() return 7 end)() + "):rep(2000) .. "0")}
      local function check(fn) assert.same({fn()}, {thread.call(fn)}) end
      for round = 1, 3 do
        for _, fn in ipairs(functions) do
          for _ = 1, round do
            check(fn)
            rawset(_G, "LEFT", nil)
          end
        end
      end
    end)
  end)

  it("is not given lull for the name of a file", function()
    run(function()
      local function loaded(code)
        return thread.call(load(code, "@somewhere/lull/file.lua"))
      end
      assert.is_false(loaded "return package.loaded['lu' .. 'll'] ~= nil")
      local global = rawget(_G, "lull")
      local _ <close> = lull.defer(rawset, _G, "lull", global)
      rawset(_G, "lull", require "lull")
      assert.is_false(loaded "return package.loaded['lu' .. 'll'] ~= nil")
      assert.is_true(loaded "return lull == package.loaded['lu' .. 'll']")
      assert.is_true(loaded "return load 'return lull ~= nil' ()")
    end)
  end)

  it("is the same to a script as that of a thread", function()
    local function describe_all()
      local list, seen = {}, {}
      local function walk(path, t)
        if seen[t] then return end
        seen[t] = true
        local keys = {}
        for k in pairs(t) do keys[#keys + 1] = k end
        table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
        for _, k in ipairs(keys) do
          local name = path .. "." .. tostring(k)
          list[#list + 1] = name .. " " .. type(t[k])
          if type(t[k]) == "table" then walk(name, t[k]) end
        end
      end
      walk("_G", _G)
      return table.concat(list, "\n")
    end
    run(function()
      local fresh = thread.spawn(describe_all):await()
      for _ = 1, 3 do assert.equal(fresh, thread.call(describe_all)) end
    end)
  end)
end)

describe("setmetatable in a call", function()
  it("is Lua's", function()
    local function try()
      local list = {}
      local function note(fn, ...)
        local result = table.pack(pcall(fn, ...))
        for i = 1, result.n do list[#list + 1] = tostring(result[i]):gsub("0x%x+", "") end
      end
      local t = {}
      list[1] = tostring(setmetatable(t, nil) == t)
      list[2] = tostring(debug.setmetatable(t, {}) == t)
      list[3] = tostring(select("#", setmetatable({}, {}, 1, 2)))
      note(setmetatable)
      note(setmetatable, 1, {})
      note(setmetatable, {})
      note(setmetatable, {}, 1)
      note(setmetatable, setmetatable({}, {__metatable = 1}), {})
      note(setmetatable, setmetatable({}, {__metatable = false}), {})
      note(debug.setmetatable, {})
      note(debug.setmetatable, {}, 1)
      note(function() setmetatable({}, true) end)
      note(function() debug.setmetatable({}, true) end)
      list[#list + 1] = getmetatable(debug.setmetatable({}, {__metatable = "mine"}))
      return table.concat(list, "\n")
    end
    run(function() assert.equal(try(), (thread.call(try))) end)
  end)
end)

describe("at the end of a call", function()
  local function after(fn)
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/told"
    thread.call(fn, path)
    local f <close> = assert(io.open(path))
    return f:read "a"
  end

  it("files are closed", function()
    run(function()
      for _ = 1, 3 do
        assert.equal("written", after(function(path)
          io.open(path, "w"):write "written"
        end))
        assert.equal("output", after(function(path)
          io.output(path)
          io.write "output"
        end))
        assert.equal("nested", after(function(path)
          LEFT = coroutine.wrap(function()
            local f = io.open(path, "w")
            f:write "nested"
            coroutine.yield(f)
          end)
          LEFT()
        end))
      end
    end)
  end)

  it("finalizers of tables have run, however they came to have one", function()
    run(function()
      for _ = 1, 2 do
        assert.equal("set", after(function(path)
          setmetatable({}, {__gc = function()
            local f <close> = io.open(path, "w")
            f:write "set"
          end})
        end))
        assert.equal("debug", after(function(path)
          debug.setmetatable({}, {__gc = function()
            local f <close> = io.open(path, "w")
            f:write "debug"
          end})
        end))
        assert.equal("later", after(function(path)
          local mt = {__gc = true}
          LEFT = setmetatable({}, mt)
          mt.__gc = function()
            local f <close> = io.open(path, "w")
            f:write "later"
          end
        end))
        assert.equal("failed", after(function(path)
          LEFT = setmetatable({}, {__gc = function()
            local f <close> = io.open(path, "w")
            f:write "failed"
          end})
          pcall(error)
        end))
        assert.equal("no", after(function(path)
          local f = io.open(path, "w")
          f:write "no"
          f:close()
          local mt = {}
          LEFT = setmetatable({}, mt)
          mt.__gc = function() os.remove(path) end
        end))
      end
    end)
  end)

  it("so have those that were there before, if they were changed", function()
    run(function()
      for _ = 1, 2 do
        assert.equal("changed", after(function(path)
          local metatable = getmetatable(io.stdout)
          metatable.__gc = function()
            metatable.__gc = nil
            os.execute("printf changed >" .. path)
          end
        end))
        assert.equal("changed", after(function(path)
          getmetatable(debug.getregistry()._CLIBS).__gc = function()
            os.execute("printf changed >" .. path)
          end
        end))
      end
    end)
  end)

  it("libraries in C are let go of, and can be had again", function()
    run(function()
      for _ = 1, 3 do
        assert.is_true(thread.call(function()
          return package.loaded.lfs == nil and require "lfs".attributes(".").mode ==
            "directory"
        end))
      end
    end)
  end)

  it("no memory is left, ten thousand times", function()
    local out = helper.child(([[
      local call = lull.thread.call
      local function resident()
        for line in io.lines "/proc/self/status" do
          local kib = line:match "^VmRSS:%%s*(%%d+)"
          if kib then return tonumber(kib) end
        end
      end
      local function some(i)
        local t = {}
        for j = 1, i %% 50 do t[j] = {tostring(j), ("x"):rep(i %% 700)} end
        if i %% 10 == 0 then LEFT = {t, io.tmpfile(), ("y"):rep(100000)} end
        if i %% 11 == 0 then error(t) end
        return t
      end
      lull.thread.limit("calls", 2)
      local function calls(n)
        for i = 1, n do pcall(call, some, i) end
        collectgarbage()
        collectgarbage()
        return resident()
      end
      local before = calls(%d)
      print(calls(%d) - before)
    ]]):format(raced and 50 or 1000, raced and 200 or 10000), "--real")
    assert.is_true(require "probe".sanitized or tonumber(out) < 4096, out)
  end)
end)

describe("memory that runs out", function()
  -- Fails at allocation after allocation until a call comes out well.
  local function sweep(anew, step)
    local n, failures = 0, 0
    repeat
      n = n + (n < 50 and 1 or step)
      core.thread_fuel(n, anew)
      local ok, result = pcall(thread.call, function(t)
        local list = {}
        for i = 1, 20 do list[i] = {tostring(i), t} end
        setmetatable(list[1], {__gc = function() LEFT = list end})
        local f = io.tmpfile()
        f:write(("x"):rep(5000))
        list[1] = coroutine.wrap(function() return #list end)()
        return list
      end, {("x"):rep(1000)})
      if not ok then
        assert.matches("not enough memory", result)
        assert.is_nil(thread.call(function() return rawget(_G, "LEFT") end))
        failures = failures + 1
      end
    until ok
    core.thread_fuel(0)
    return failures
  end

  it("in a state that was kept leaves it as it was", function()
    run(function()
      thread.call(function() end)
      assert.is_true(sweep(false, 3) > 40)
    end)
  end)

  it("while a state is made fails that call alone", function()
    run(function() assert.is_true(sweep(true, raced and 97 or 13) > 52) end)
  end)
end)
