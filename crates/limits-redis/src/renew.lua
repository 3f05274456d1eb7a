-- Renews leases, and registers their gateway as alive.
--
-- KEYS: the set of gateways, then for each lease the slots that it holds. ARGV: this gateway, the
-- duration of a lease, 1 to put back missing leases or 0 to report them; then the name of the lease
-- for each of the slots. Returns: the number of gateways, then the indices of missing leases.

local function whole(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lasts, put_back = tonumber(ARGV[2]), ARGV[3] == '1'

local function hold(key, name)
  redis.call('ZADD', key, whole(now + lasts), name)
  local expiry = math.ceil(lasts / 1000)
  if redis.call('PTTL', key) < expiry then
    redis.call('PEXPIRE', key, whole(expiry))
  end
end

-- Write first: Redis does not refuse a script that has already written.
hold(KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
local answer = { redis.call('ZCARD', KEYS[1]) }
for index = 2, #KEYS do
  local slots, lease = KEYS[index], ARGV[index + 2]
  if put_back or redis.call('ZSCORE', slots, lease) then
    hold(slots, lease)
  else
    answer[#answer + 1] = index - 2
  end
end
return answer
