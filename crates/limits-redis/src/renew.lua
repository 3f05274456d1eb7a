-- Renews leases, and says that their gateway is alive.
--
-- KEYS: the gateways seen, then for each lease one of the slots it holds.
-- ARGV: this gateway, how long leases last, 1 to put back what is missing or 0 not to; then the
-- lease's name for each of the slots.
-- Answers: how many gateways there are, then the indices of what is missing.

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

-- In this order: no script is refused that has written already, however little.
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
