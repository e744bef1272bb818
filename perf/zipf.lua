-- Requests for wrk of which a share asks for a few hot entities, and the rest for entities that come round seldom:
--
--   wrk -s zipf.lua URL -- SERVICE ROWS ENTITIES HOT SHARE START
--
-- The entities 1 to HOT are hot, and asked for by Zipf's law with exponent 1; each of the others is asked for once before
-- any is asked for again, beginning with the request number START. So a cache with room for the hot ones and some more,
-- but not for all, hits with the probability SHARE. All bodies are built before the first is sent. The result is the last
-- line, as that of wrk.lua.

dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "wrk.lua")

local DRAWS = 20000
local hot, cold = {}, {}
local draws = {}
local share, turn, draw = 0, 0, 0

local function body(service, entities)
  local text = '{"feature_service": "' .. service .. '", "entities": {"entity": [' .. table.concat(entities, ", ") .. "]}}"
  return wrk.format("POST", "/get-online-features", { ["Content-Type"] = "application/json" }, text)
end

function init(args)
  local service, rows, entities, first = args[1], tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
  share = tonumber(args[5])
  math.randomseed(1)
  local sums, sum = {}, 0
  for rank = 1, first do
    sum = sum + 1 / rank
    sums[rank] = sum
  end
  local function zipf()
    local wanted, low, high = math.random() * sum, 1, first
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < wanted then low = middle + 1 else high = middle end
    end
    return low
  end
  for i = 1, 2000 do
    local chosen = {}
    for row = 1, rows do
      chosen[row] = zipf()
    end
    hot[i] = body(service, chosen)
  end
  for start = first + 1, entities - rows + 1, rows do
    local chosen = {}
    for row = 1, rows do
      chosen[row] = start + row - 1
    end
    cold[#cold + 1] = body(service, chosen)
  end
  turn = tonumber(args[6]) % #cold
  for i = 1, DRAWS do
    draws[i] = math.random()
  end
end

function request()
  draw = draw % DRAWS + 1
  if draws[draw] < share then
    return hot[draw % #hot + 1]
  end
  turn = turn % #cold + 1
  return cold[turn]
end
