-- Requests with random entities for wrk: wrk -s wrk.lua URL -- SERVICE ROWS ENTITIES BODIES
--
-- All bodies are built before the first is sent, so that the generator, which shares its core with Redis, does as
-- little as it can while the clock runs. The result is the last line: one JSON object, read by saturate.py.

local requests = {}
local turn = 0

function init(args)
  local service, rows, entities, bodies = args[1], tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
  math.randomseed(1)
  for i = 1, bodies do
    local chosen = {}
    for row = 1, rows do
      chosen[row] = math.random(entities)
    end
    local body = '{"feature_service": "' .. service .. '", "entities": {"entity": [' .. table.concat(chosen, ", ") .. "]}}"
    requests[i] = wrk.format("POST", "/get-online-features", { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests": %d, "failed": %d, "duration_s": %.6f, "bytes": %d, "p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d}\n',
    summary.requests, failed, summary.duration / 1e6, summary.bytes,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
