-- Completion of names at the prompt: globals, and the fields of whatever a path of names
-- leads to, as lull.sl or io.stdout:wr.  Looks at values only; calls nothing but __index.

local function index(value, name)
  return value[name]
end

-- What the path before the last "." or ":" leads to; nil when it leads nowhere.
local function follow(path)
  local value = _G
  for name in path:gmatch "[%w_]+" do
    local ok, field = pcall(index, value, name)
    if not ok then return nil end
    value = field
  end
  return value
end

-- The names of fields that begin with prefix, those that __index tables add included.
local function names(value, prefix)
  local found, list = {}, {}
  for _ = 1, 10 do -- a chain of __index may be a ring
    if type(value) == "table" then
      for key in next, value do
        if type(key) == "string" and key:match "^[%a_][%w_]*$" and not found[key]
           and key:sub(1, #prefix) == prefix then
          found[key] = true
          list[#list + 1] = key
        end
      end
    end
    local meta = debug.getmetatable(value)
    value = type(meta) == "table" and rawget(meta, "__index")
    if not value then break end
  end
  table.sort(list)
  return list
end

local function common(list)
  local text = list[1]
  for _, name in ipairs(list) do
    while name:sub(1, #text) ~= text do text = text:sub(1, -2) end
  end
  return text
end

-- For the text before the cursor: what can be added to it, or "" and the names to choose
-- from; nil when there is nothing to say.
return function(text)
  local path, prefix = text:match "([%a_][%w_.:]*[.:])([%w_]*)$"
  if not path then
    path, prefix = "", text:match "[%a_][%w_]*$"
  end
  local list = prefix and names(follow(path), prefix)
  if not list or #list == 0 then return nil end
  local rest = common(list):sub(#prefix + 1)
  return rest, rest == "" and #list > 1 and list or nil
end
