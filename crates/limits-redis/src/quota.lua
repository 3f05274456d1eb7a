-- Adds amounts to the counters of quotas: to all of them, or to none.
--
-- KEYS: the hash of each counter. ARGV: the name of this replica; the amounts to add (characters,
-- requests, milliseconds of audio); then for each counter: how many seconds it is kept; what this
-- replica has contributed so far (3); what it takes back (3); the quotas (3; 0: none); what of its
-- contribution was confirmed (3); what it knows that all replicas have used (3).
-- Returns: the index of the counter that refused from 1 (0: none), the index of its unit from 0; then
-- for each counter what all replicas have used (3).
--
-- A hash has three fields for each replica. A field that is lower than what its replica has
-- contributed is put back. If it is lower than what was confirmed, data was lost, and the fields of
-- other replicas may be missing as well: until they are put back, `floor:<unit>` counts, which is what
-- a replica knows of the sum.

local UNITS = { 'c', 'r', 'a' }
local AUDIO = 3
local MOST = 9007199254740992

local function whole(number)
  return string.format('%.0f', number)
end

local replica = ARGV[1]
local add = { tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]) }

local counters = {}
local refused, refused_unit = 0, 0
for index, key in ipairs(KEYS) do
  local first = 5 + (index - 1) * 16
  local counter = { key = key, keep = tonumber(ARGV[first]), own = {}, used = {}, floor = {}, changed = false }
  local stored = redis.call('HGETALL', key)
  local sums = { c = 0, r = 0, a = 0 }
  local own = { c = 0, r = 0, a = 0 }
  local floors = { c = 0, r = 0, a = 0 }
  for at = 1, #stored, 2 do
    local unit, name = string.match(stored[at], '^(%a):(.*)$')
    local amount = tonumber(stored[at + 1])
    if unit and sums[unit] and amount then
      if name == replica then
        own[unit] = amount
      else
        sums[unit] = sums[unit] + amount
      end
    end
    local floor = string.match(stored[at], '^floor:(%a)$')
    if floor and floors[floor] and amount then
      floors[floor] = amount
    end
  end
  for at, unit in ipairs(UNITS) do
    local contributed = tonumber(ARGV[first + at])
    local back = tonumber(ARGV[first + 3 + at])
    local quota = tonumber(ARGV[first + 6 + at])
    local now = math.max(math.max(0, own[unit] - back), contributed)
    counter.changed = counter.changed or now ~= own[unit]
    counter.own[at] = now
    counter.used[at] = sums[unit] + now
    local floor = math.max(0, floors[unit] - back)
    if own[unit] < tonumber(ARGV[first + 9 + at]) then
      floor = math.max(floor, tonumber(ARGV[first + 12 + at]))
    end
    if floor > counter.used[at] then
      counter.used[at] = floor
    else
      floor = 0
    end
    counter.changed = counter.changed or floor ~= floors[unit]
    counter.floor[at] = floor
    if quota > 0 and refused == 0 then
      local is_full
      if at == AUDIO then
        is_full = counter.used[at] >= quota
      else
        is_full = add[at] > 0 and counter.used[at] + add[at] > quota
      end
      if is_full then
        refused, refused_unit = index, at - 1
      end
    end
  end
  counters[index] = counter
end

local answer = { refused, refused_unit }
for _, counter in ipairs(counters) do
  local fields = {}
  for at, unit in ipairs(UNITS) do
    if refused == 0 and add[at] > 0 then
      counter.own[at] = math.min(counter.own[at] + add[at], MOST)
      counter.used[at] = counter.used[at] + add[at]
      if counter.floor[at] > 0 then
        counter.floor[at] = math.min(counter.floor[at] + add[at], MOST)
      end
      counter.changed = true
    end
    if counter.floor[at] > 0 then
      fields[#fields + 1] = 'floor:' .. unit
      fields[#fields + 1] = whole(counter.floor[at])
    elseif counter.changed then
      redis.call('HDEL', counter.key, 'floor:' .. unit)
    end
    fields[#fields + 1] = unit .. ':' .. replica
    fields[#fields + 1] = whole(counter.own[at])
    answer[#answer + 1] = math.min(counter.used[at], MOST)
  end
  if counter.changed then
    redis.call('HSET', counter.key, unpack(fields))
    redis.call('EXPIRE', counter.key, whole(counter.keep))
  end
end
return answer
