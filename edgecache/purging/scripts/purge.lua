-- ARGV: nonce, epoch, applied, capacity, channel, idempotency key or '', digest, then kind and value of each selector
local epoch, seq, floor = head(ARGV[1], ARGV[2], tonumber(ARGV[3]))
local capacity, channel, key, digest = tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]

local function answer(outcome, number)
  return {outcome, epoch, text(number), redis.call('HGET', META, 'settled') or '0', members()}
end

if key ~= '' then
  local before, of = string.match(redis.call('HGET', ONCE, key) or '', '^(%d+) (.*)$')
  if before then
    -- Written again: WAIT asks the replicas about the last write of this connection, and that of the purge was another's.
    redis.call('HSET', ONCE, key, before .. ' ' .. of)
    return answer(of == digest and 'committed' or 'conflict', tonumber(before))
  end
end

seq = seq + 1
local entry = {'XADD', LOG, text(seq) .. '-0'}
if key ~= '' then
  redis.call('HSET', ONCE, key, text(seq) .. ' ' .. digest)
  entry[#entry + 1] = 'once'
  entry[#entry + 1] = key
end
for i = 8, #ARGV do entry[#entry + 1] = ARGV[i] end
redis.call(unpack(entry))

-- The log is bounded in selectors, as every index is that follows it. What is forgotten raises the floor.
local held = tonumber(redis.call('HGET', META, 'held')) + (#ARGV - 7) / 2
while held > capacity and floor < seq do
  for _, oldest in ipairs(redis.call('XRANGE', LOG, '(' .. text(floor) .. '-0', '+', 'COUNT', 64)) do
    if held <= capacity then break end
    local fields = oldest[2]
    held = held - #fields / 2
    if fields[1] == 'once' then
      held = held + 1
      redis.call('HDEL', ONCE, fields[2])
    end
    floor = tonumber(string.match(oldest[1], '^%d+'))
  end
end
redis.call('XTRIM', LOG, 'MINID', text(floor + 1) .. '-0')
redis.call('HSET', META, 'seq', text(seq), 'floor', text(floor), 'held', text(held))
redis.pcall('PUBLISH', channel, text(seq)) -- a hint: without the permission others learn of the purge a little later
return answer('committed', seq)
