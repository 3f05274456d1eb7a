-- Gives back what a request has taken, because another node of the cluster refused it.
--
-- KEYS: as for the decision: for each scope in order, its slots if it limits concurrency, then its
-- level if it has a rate. ARGV: the name of the lease; then for each scope: the number of slots (0:
-- no limit), how much drains in a microsecond (0: no rate), how much one request adds, how many
-- requests fit, how many were taken. Returns: nothing.

local function whole(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local key = 0
for first = 2, #ARGV, 5 do
  if tonumber(ARGV[first]) > 0 then
    key = key + 1
    redis.call('ZREM', KEYS[key], ARGV[1])
  end
  local drain, unit = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  if drain > 0 then
    key = key + 1
    local stored = redis.call('GET', KEYS[key])
    local level, at = string.match(stored or '', '^(%d+) (%d+)$')
    if level then
      level = tonumber(level) - math.max(0, now - tonumber(at)) * drain
      level = level - tonumber(ARGV[first + 4]) * unit
      if level > 0 then
        local expiry = math.max(1, math.ceil(level / drain / 1000))
        redis.call('SET', KEYS[key], whole(level) .. ' ' .. whole(now), 'PX', whole(expiry))
      else
        redis.call('DEL', KEYS[key])
      end
    end
  end
end
return {}
