-- A circuit breaker in a hash of Redis, by the rule that the benchmarks give breakerd's: as many
-- failures in a row open the circuit, if there were enough calls in the window; after a while one
-- probe decides whether it closes.
--
--   EVALSHA <sha> 1 <key> acquire                          -> {allowed, generation, probe}
--   EVALSHA <sha> 1 <key> report <generation> <probe> <ok> -> 1 if it counted
--
-- Fields: state (none = closed), failures (in a row), generation, retry (when a probe is allowed,
-- or, while one is out, when it is given up), and a counter of calls with its slice of time for each
-- of the window's buckets (c0, s0, c1, s1, ...).

local threshold, minimum_calls = 5, 5
local buckets, bucket_seconds = 12, 5
local open_ms, probe_ms = 30000, 30000

local key = KEYS[1]
local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now = seconds * 1000 + math.floor(tonumber(time[2]) / 1000)

local function move(state, generation, retry)
  redis.call('HSET', key, 'state', state, 'generation', generation + 1, 'retry', retry,
    'failures', 0)
end

-- Calls in the window before the current bucket's slice.
local function earlier_calls(slice)
  local calls = 0
  local fields = redis.call('HGETALL', key)
  local hash = {}
  for i = 1, #fields, 2 do hash[fields[i]] = tonumber(fields[i + 1]) end
  for i = 0, buckets - 1 do
    local other = hash['s' .. i]
    if other and other < slice and other > slice - buckets then calls = calls + hash['c' .. i] end
  end
  return calls
end

if ARGV[1] == 'acquire' then
  local breaker = redis.call('HMGET', key, 'state', 'generation', 'retry')
  local generation = tonumber(breaker[2] or 1)
  if not breaker[1] or breaker[1] == 'closed' then return {1, generation, 0} end
  if now < tonumber(breaker[3]) then return {0, generation, 0} end
  move('half_open', generation, now + probe_ms)
  return {1, generation + 1, 1}
end

local slice = math.floor(seconds / bucket_seconds)
local bucket = slice % buckets
local calls_field, slice_field = 'c' .. bucket, 's' .. bucket
local breaker =
  redis.call('HMGET', key, 'state', 'generation', 'failures', calls_field, slice_field)
local generation = tonumber(breaker[2] or 1)
if generation ~= tonumber(ARGV[2]) then return 0 end
local ok = ARGV[4] == '1'
if ARGV[3] == '1' then
  if ok then move('closed', generation, 0) else move('open', generation, now + open_ms) end
  return 1
end

local calls = 1
if tonumber(breaker[5]) == slice then calls = tonumber(breaker[4]) + 1 end
local failures = 0
if not ok then failures = tonumber(breaker[3] or 0) + 1 end
redis.call('HSET', key, calls_field, calls, slice_field, slice, 'failures', failures)
if failures >= threshold and calls + earlier_calls(slice) >= minimum_calls then
  move('open', generation, now + open_ms)
end
return 1
