-- Renews leases.
--
-- KEYS: for each lease the slots that it holds. ARGV: the duration of a lease, 1 to put back missing
-- leases or 0 to leave them; then the name of the lease for each of the slots. Returns: the indices
-- of leases that were missing.

local function whole(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local lasts, put_back = tonumber(ARGV[1]), ARGV[2] == '1'

local function hold(key, name)
  redis.call('ZADD', key, whole(now + lasts), name)
  local expiry = math.ceil(lasts / 1000)
  if redis.call('PTTL', key) < expiry then
    redis.call('PEXPIRE', key, whole(expiry))
  end
end

local answer = {}
for index, slots in ipairs(KEYS) do
  local lease = ARGV[index + 2]
  local is_missing = not redis.call('ZSCORE', slots, lease)
  if is_missing then
    answer[#answer + 1] = index - 1
  end
  if put_back or not is_missing then
    hold(slots, lease)
  end
end
return answer
