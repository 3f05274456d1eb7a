-- Registers a gateway as alive.
--
-- KEYS: the set of gateways. ARGV: the gateway, the duration of a lease. Returns: the number of
-- gateways.

local function whole(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lasts = tonumber(ARGV[2])

-- Write first: Redis does not refuse a script that has already written.
redis.call('ZADD', KEYS[1], whole(now + lasts), ARGV[1])
local expiry = math.ceil(lasts / 1000)
if redis.call('PTTL', KEYS[1]) < expiry then
  redis.call('PEXPIRE', KEYS[1], whole(expiry))
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
return { redis.call('ZCARD', KEYS[1]) }
