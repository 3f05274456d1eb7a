-- Decides one request: takes from all of its limits, or from none.
--
-- KEYS: for each scope in order, its slots if it limits concurrency, then its level if it has a
-- rate. ARGV: 1 to take or 0 to only check, the name of the lease, the duration of the lease; then
-- for each scope: the number of slots (0: no limit), how much drains in a microsecond (0: no rate),
-- how much one request adds, how many requests fit, how many are requested. Returns: the outcome,
-- the index of the scope that refused, microseconds after which its rate would allow the request;
-- then for each scope: remaining requests, microseconds until all are available (-1: no rate).
--
-- A rate is a leaky bucket, which is equivalent to GCRA. The unit of its level makes both the drain
-- and a request whole numbers, so that there are no rounding errors below 2^53. The level is stored
-- with its time, so that a clock that is set back cannot block a caller.

local GRANTED, RATE, CONCURRENCY, BOTH = 0, 1, 2, 3
local MOST = 9007199254740992

-- Without a format, large numbers become text like 1.7e+15.
local function whole(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local take, lease, lasts = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3])

local scopes = {}
local key = 0
for first = 4, #ARGV, 5 do
  local scope = {
    slots = tonumber(ARGV[first]),
    drain = tonumber(ARGV[first + 1]),
    unit = tonumber(ARGV[first + 2]),
  }
  if scope.slots > 0 then
    key = key + 1
    scope.slots_key = KEYS[key]
  end
  if scope.drain > 0 then
    key = key + 1
    scope.level_key = KEYS[key]
    scope.capacity = tonumber(ARGV[first + 3]) * scope.unit
    scope.charge = tonumber(ARGV[first + 4]) * scope.unit
  end
  scopes[#scopes + 1] = scope
end

-- Nothing is written before the request is granted. If Redis is read-only or out of memory, it
-- refuses a script at its first write, but allows later writes of the same script.
local full
for index, scope in ipairs(scopes) do
  if scope.slots_key and not full then
    local taken = redis.call('ZCOUNT', scope.slots_key, '(' .. whole(now), '+inf')
    if taken >= scope.slots then
      full = index
    end
  end
end

local fast
local wait = 0
for index, scope in ipairs(scopes) do
  if scope.level_key then
    scope.level = 0
    local stored = redis.call('GET', scope.level_key)
    local level, at = string.match(stored or '', '^(%d+) (%d+)$')
    if level then
      local drained = math.max(0, now - tonumber(at)) * scope.drain
      scope.level = math.min(math.max(0, tonumber(level) - drained), scope.capacity)
    end
    local over = scope.level + scope.charge - scope.capacity
    if over > 0 then
      fast = fast or index
      wait = math.max(wait, math.ceil(over / scope.drain))
    end
  end
end

local outcome = GRANTED
if full then
  outcome = fast and BOTH or CONCURRENCY
elseif fast then
  outcome = RATE
elseif take then
  for _, scope in ipairs(scopes) do
    if scope.slots_key then
      redis.call('ZADD', scope.slots_key, whole(now + lasts), lease)
      local expiry = math.ceil(lasts / 1000)
      if redis.call('PTTL', scope.slots_key) < expiry then
        redis.call('PEXPIRE', scope.slots_key, whole(expiry))
      end
      redis.call('ZREMRANGEBYSCORE', scope.slots_key, '-inf', whole(now))
    end
    if scope.level_key then
      scope.level = scope.level + scope.charge
      local expiry = math.min(math.ceil(scope.level / scope.drain / 1000), MOST / 1000)
      local state = whole(scope.level) .. ' ' .. whole(now)
      redis.call('SET', scope.level_key, state, 'PX', whole(math.max(1, expiry)))
    end
  end
end

local answer = { outcome, (full or fast or 1) - 1, math.min(wait, MOST) }
for _, scope in ipairs(scopes) do
  if scope.level_key then
    answer[#answer + 1] = math.floor((scope.capacity - scope.level) / scope.unit)
    answer[#answer + 1] = math.min(math.ceil(scope.level / scope.drain), MOST)
  else
    answer[#answer + 1] = -1
    answer[#answer + 1] = -1
  end
end
return answer
